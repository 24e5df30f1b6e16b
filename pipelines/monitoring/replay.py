"""`ml ci replay`: a month's events, sent to an environment's edge as callers would, every answer counted."""

import itertools
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from pipelines.base import loopback
from pipelines.base.console import aligned, step
from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.core import rows as road
from pipelines.core.model import Row
from pipelines.core.problem import Problem
from pipelines.rollout.load import Load

PROGRESS_SECONDS = 2.0  # between two lines of progress


def replay(
    month: str,
    url: str,
    problem: Problem,
    *,
    batch: int = 100,
    rate: float | None = None,
    until: Path | None = None,
    connections: int = 8,
    timeout: float = 10.0,
    tally: Path | None = None,
) -> "Tally":
    """Send the events of `month` to `url`/predict, `batch` rows a request, and count what came back.

    Once through the month; with `until`, round and round until that file exists. `rate` bounds the requests a
    second. No request is sent twice: one that fails is lost, whatever a retry would have brought. `tally`
    gets the counts as JSON. UserError where the source has no such month, nothing listens, or the url is not
    this machine's."""
    address = local_address(url)
    requests, task = _requests(events(month, problem), batch, until), problem.task

    def accepts(predictions: Sequence[Any]) -> bool:
        return not task.wrong(task.stacked(task.read(each[task.answer]) for each in predictions))[0].any()

    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"nothing listens at {url} ({reason}): run `ml deploy` first") from None
    begun = shown = time.monotonic()
    load = Load(url, requests, rate, connections, timeout, accepts)
    with suppress(KeyboardInterrupt), load:  # what was sent until Ctrl-C still counts
        while any(thread.is_alive() for thread in load.threads):
            time.sleep(0.05)
            if time.monotonic() - shown >= PROGRESS_SECONDS:
                shown, lost = time.monotonic(), sum(1 for answer in load.answers if answer.lost)
                step(f"replay of {month}: {load.sent:,} requests sent" + (f", {lost:,} lost" if lost else ""))
    result = _counted(month, url, load, time.monotonic() - begun)
    if tally is not None:
        write_json(tally, asdict(result))
    return result


@dataclass(frozen=True)
class Tally:
    """What became of the requests. sent = answered + lost; `mixed` are answered ones."""

    month: str
    url: str
    sent: int
    answered: int  # 200, whole, an answer of the task for each row
    lost: int
    mixed: int  # answered, but not by exactly one named release
    rows: int  # of the answered requests
    seconds: float
    releases: dict[str, int]  # answers by release, in the order in which they first answered
    losses: dict[str, int]  # lost requests by reason
    latency: dict[str, float]  # p50, p99, max of the answered requests, seconds

    @property
    def exit_code(self) -> int:
        """0; 4 where a request was lost or mixed; 3 where none was sent (no data never passes)."""
        if self.lost or self.mixed:
            return 4
        return 0 if self.sent else 3

    def table(self) -> str:
        """The counts, for a terminal."""
        speed = f"{self.sent / self.seconds:,.0f} requests/s, {self.rows / self.seconds:,.0f} rows/s"
        lines = [
            ("sent", f"{self.sent:,} requests in {self.seconds:.1f} s ({speed})"),
            ("answered", f"{self.answered:,} ({self.rows:,} rows)"),
            ("lost", f"{self.lost:,}"),
            *((f"  {reason}", f"{count:,}") for reason, count in self.losses.items()),
            ("mixed", f"{self.mixed:,}"),
            *((f"  by {release[:12]}", f"{count:,}") for release, count in self.releases.items()),
        ]
        if self.answered:
            times = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in self.latency.items())
            lines.append(("latency", times))
        return "\n".join(aligned(lines))


def local_address(url: str) -> tuple[str, int]:
    """Host and port of `url`. UserError where it is not this machine's: a replay is load, not a caller."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in loopback.NAMES:
        why = f"replay sends load to this machine only, and {url} is not http://127.0.0.1:PORT"
        raise UserError(f"{why}: run it on the host of the environment")
    return parts.hostname, parts.port or 80


def events(month: str, problem: Problem) -> list[Row]:
    """The rows that callers would have sent in `month`: key and features, in the order of time."""
    if month not in (known := road.known(problem)):
        raise UserError(f"the source has no month {month}: it has {known[0]} to {known[-1]}")
    table, contract = road.of_month(month, problem), problem.contract
    wanted = {}
    for column in (contract.key, *contract.features):
        values = table[column.name]
        if column.type == "integer":
            values = values.astype("Int64")  # 540.0, which a missing value beside it made, is 540
        if column.key:
            values = values.astype("string")  # which every key is in a request
        wanted[column.name] = values.astype(object).where(values.notna(), None)
    return [dict(zip(wanted, row, strict=True)) for row in zip(*wanted.values(), strict=True)]


def _requests(rows: Sequence[Row], batch: int, until: Path | None) -> Iterator[Sequence[Row]]:
    """The rows of each request, until the replay is over."""
    for _ in range(1) if until is None else itertools.count():
        for first in range(0, len(rows), batch):
            if until is not None and until.exists():
                return
            yield rows[first : first + batch]


def _counted(month: str, url: str, load: Load, seconds: float) -> Tally:
    good = [answer for answer in load.answers if not answer.lost]
    losses = Counter(answer.lost for answer in load.answers if answer.lost)
    times = [answer.seconds for answer in good]
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0} if times else {}
    return Tally(
        month=month,
        url=url,
        sent=load.sent,
        answered=len(good),
        lost=losses.total(),
        mixed=len(good) - load.answered.total(),
        rows=sum(answer.rows for answer in good),
        seconds=round(seconds, 3),
        releases=dict(load.answered),
        losses=dict(losses.most_common()),
        latency={n: round(float(np.quantile(times, q, method="inverted_cdf")), 6) for n, q in at.items()},
    )
