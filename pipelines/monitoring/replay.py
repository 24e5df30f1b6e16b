"""`ml ci replay`: a month's events, sent to an environment's edge as callers would, every answer counted."""

import http.client
import itertools
import json
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from pipelines.base import loopback
from pipelines.base.console import aligned, step
from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.core import rows as road
from pipelines.core.model import Row
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Task

FRESH = 10  # each tenth request opens a connection of its own: a flip must lose neither kind
PROGRESS_SECONDS = 2.0  # between two lines of progress
HEADER = "x-greenlight-release"


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
    rows = events(month, problem)
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"nothing listens at {url} ({reason}): run `ml deploy` first") from None
    begun, stop, answers = time.monotonic(), threading.Event(), list[_Answer]()
    plan, lock = _requests(rows, batch, rate, until, stop), threading.Lock()

    def send() -> None:
        kept = http.client.HTTPConnection(*address, timeout=timeout)
        for number in itertools.count(1):
            with lock:
                if (next_rows := next(plan, None)) is None:
                    break
            fresh = number % FRESH == 0
            line = http.client.HTTPConnection(*address, timeout=timeout) if fresh else kept
            answers.append(answer := _ask(line, next_rows, problem.task, close=fresh))
            if fresh or answer.lost:
                line.close()  # the next request on it connects anew
        kept.close()

    threads = [threading.Thread(target=send, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        _watch(threads, answers, month)
    except KeyboardInterrupt:  # what was sent until now still counts
        stop.set()
        for thread in threads:
            thread.join(timeout)
    result = _counted(month, url, list(answers), time.monotonic() - begun)
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


def _requests(
    rows: Sequence[Row], batch: int, rate: float | None, until: Path | None, stop: threading.Event
) -> Iterator[Sequence[Row]]:
    """The rows of each request, once it is due, until the replay is over."""
    begun, number = time.monotonic(), itertools.count()
    for _ in range(1) if until is None else itertools.count():
        for first in range(0, len(rows), batch):
            if until is not None and until.exists():
                return
            due = begun + next(number) / rate if rate else 0
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            yield rows[first : first + batch]


@dataclass(frozen=True)
class _Answer:
    """Why a request was lost, else the releases that its answer names (None: it names none)."""

    rows: int
    seconds: float
    lost: str = ""
    releases: frozenset[str | None] = frozenset()


def _counted(month: str, url: str, answers: list[_Answer], seconds: float) -> Tally:
    good = [answer for answer in answers if not answer.lost]
    one = [next(iter(answer.releases)) for answer in good if len(answer.releases) == 1]
    releases = Counter(release for release in one if release is not None)
    losses = Counter(answer.lost for answer in answers if answer.lost)
    times = [answer.seconds for answer in good]
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0} if times else {}
    return Tally(
        month=month,
        url=url,
        sent=len(answers),
        answered=len(good),
        lost=losses.total(),
        mixed=len(good) - releases.total(),
        rows=sum(answer.rows for answer in good),
        seconds=round(seconds, 3),
        releases=dict(releases),
        losses=dict(losses.most_common()),
        latency={n: round(float(np.quantile(times, q, method="inverted_cdf")), 6) for n, q in at.items()},
    )


def _ask(line: http.client.HTTPConnection, rows: Sequence[Row], task: Task, close: bool) -> _Answer:
    request = str(uuid.uuid4())
    headers = {"content-type": "application/json", "x-request-id": request}
    if close:
        headers["connection"] = "close"
    body = json.dumps({"rows": rows}, separators=(",", ":")).encode()
    begun, releases, lost = time.monotonic(), frozenset[str | None](), ""
    try:
        line.request("POST", "/predict", body, headers)
        response = line.getresponse()
        content = response.read()
        if response.status != 200:
            lost = f"status {response.status}"
        elif response.headers.get("x-request-id", request) != request:
            lost = "the answer to another request"
        else:
            releases, lost = _read(content, response.headers.get(HEADER), len(rows), task)
    except (OSError, http.client.HTTPException) as error:
        lost = type(error).__name__
    return _Answer(len(rows), time.monotonic() - begun, lost, releases)


def _read(content: bytes, header: str | None, rows: int, task: Task) -> tuple[frozenset[str | None], str]:
    try:
        body = json.loads(content)
        predictions = body["predictions"]
        wrong, _ = task.wrong(task.stacked(task.read(each[task.answer]) for each in predictions))
        releases = {header, body.get("release")} | {r["release"] for r in predictions if "release" in r}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return frozenset(), "no answer of the contract"
    return frozenset(releases), "" if len(wrong) == rows and not wrong.any() else "not an answer for each row"


def _watch(threads: Sequence[threading.Thread], answers: Sequence[_Answer], month: str) -> None:
    shown = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.05)
        if time.monotonic() - shown >= PROGRESS_SECONDS:
            shown = time.monotonic()
            lost = sum(1 for answer in answers if answer.lost)
            step(f"replay of {month}: {len(answers):,} requests sent" + (f", {lost:,} lost" if lost else ""))
