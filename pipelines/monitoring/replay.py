"""`ml ci replay`: a month's events, sent to an environment's edge as callers would, every answer counted."""

import http.client
import itertools
import json
import math
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.core import rows as road
from pipelines.core.problem import Problem

Until = Path | float
Row = dict[str, Any]

HERE = ("127.0.0.1", "localhost", "::1")
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
    until: Until | None = None,
    requests: int | None = None,
    connections: int = 8,
    timeout: float = 10.0,
    tally: Path | None = None,
) -> "Tally":
    """Send the events of `month` to `url`/predict, `batch` rows a request, and count what came back.

    Once through the month; with `requests`, so many; with `until`, round and round until that file
    exists or so many seconds have passed. `rate` bounds the requests a second. No request is sent
    twice: one that fails is lost, whatever a retry would have brought. `tally` gets the counts as JSON.
    UserError where the source has no such month, nothing listens, or the url is not this machine's.
    """
    address = local_address(url)
    rows = events(month, problem)
    _listens(address, url)
    plan = _Plan(rows, batch, rate, until, requests)
    counted = _Counts()
    started = time.monotonic()
    threads = [
        threading.Thread(target=_send, args=(plan, address, timeout, counted), daemon=True)
        for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    try:
        _watch(threads, plan, counted, month)
    except KeyboardInterrupt:  # what was sent until now still counts
        plan.stop()
        for thread in threads:
            thread.join(timeout)
    result = counted.tally(month, url, time.monotonic() - started)
    if tally is not None:
        write_json(tally, asdict(result))
    return result


@dataclass(frozen=True)
class Tally:
    """What became of the requests. sent = answered + lost; `mixed` are answered ones."""

    month: str
    url: str
    sent: int
    answered: int  # 200, whole, a probability for each row
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
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def parse_until(text: str | None) -> Until | None:
    """`30` is seconds, anything else a file whose appearance ends the replay."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return Path(text)


def local_address(url: str) -> tuple[str, int]:
    """Host and port of `url`. UserError where it is not this machine's: a replay is load, not a caller."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in HERE:
        raise UserError(
            f"replay sends load to this machine only, and {url} is not http://127.0.0.1:PORT: "
            "run it on the host of the environment"
        )
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


def _listens(address: tuple[str, int], url: str) -> None:
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        raise UserError(
            f"nothing listens at {url} ({error.strerror or error}): run `ml deploy` first"
        ) from None


class _Plan:
    """Which request is next, and when: shared by the connections."""

    def __init__(
        self, rows: Sequence[Row], batch: int, rate: float | None, until: Until | None, requests: int | None
    ) -> None:
        self._batches = _batches(rows, batch, again=until is not None or requests is not None)
        self._rate, self._until, self._requests = rate, until, requests
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._taken = 0
        self._stopped = threading.Event()

    def next(self) -> Sequence[Row] | None:
        """The rows of the next request, once it is due; None when the replay is over."""
        with self._lock:
            if self._over() or (rows := next(self._batches, None)) is None:
                return None
            number = self._taken
            self._taken += 1
        if self._rate is not None:
            time.sleep(max(0.0, self._started + number / self._rate - time.monotonic()))
        return rows

    def stop(self) -> None:
        self._stopped.set()

    def _over(self) -> bool:
        if self._stopped.is_set() or (self._requests is not None and self._taken >= self._requests):
            return True
        if isinstance(self._until, Path):
            return self._until.exists()
        return self._until is not None and time.monotonic() - self._started >= self._until


def _batches(rows: Sequence[Row], size: int, again: bool) -> Iterator[Sequence[Row]]:
    for _ in itertools.count() if again else range(1):
        for first in range(0, len(rows), size):
            yield rows[first : first + size]


@dataclass
class _Counts:
    """What happened so far; every connection adds to it."""

    sent: int = 0
    rows: int = 0
    mixed: int = 0
    releases: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rows: int, answer: "_Answer", seconds: float) -> None:
        with self.lock:
            self.sent += 1
            if answer.lost:
                self.losses[answer.lost] += 1
                return
            self.rows += rows
            self.times.append(seconds)
            if len(answer.releases) == 1 and None not in answer.releases:
                self.releases[str(next(iter(answer.releases)))] += 1
            else:
                self.mixed += 1

    def tally(self, month: str, url: str, seconds: float) -> Tally:
        with self.lock:
            times = sorted(self.times)
            at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
            return Tally(
                month=month,
                url=url,
                sent=self.sent,
                answered=len(times),
                lost=self.losses.total(),
                mixed=self.mixed,
                rows=self.rows,
                seconds=round(seconds, 3),
                releases=dict(self.releases),
                losses=dict(self.losses.most_common()),
                latency={n: round(times[math.ceil(q * len(times)) - 1], 6) for n, q in at.items()}
                if times
                else {},
            )


@dataclass(frozen=True)
class _Answer:
    """Why a request was lost, else the releases that its answer names (None: it names none)."""

    lost: str = ""
    releases: frozenset[str | None] = frozenset()


def _send(plan: _Plan, address: tuple[str, int], timeout: float, counts: _Counts) -> None:
    kept = http.client.HTTPConnection(*address, timeout=timeout)
    for number in itertools.count(1):
        if (rows := plan.next()) is None:
            break
        fresh = number % FRESH == 0
        line = http.client.HTTPConnection(*address, timeout=timeout) if fresh else kept
        body = json.dumps({"rows": rows}, separators=(",", ":")).encode()
        began = time.monotonic()
        answer = _ask(line, body, len(rows), close=fresh)
        counts.add(len(rows), answer, time.monotonic() - began)
        if fresh or answer.lost:
            line.close()  # the next request on it connects anew
    kept.close()


def _ask(line: http.client.HTTPConnection, body: bytes, rows: int, close: bool) -> _Answer:
    request = str(uuid.uuid4())
    headers = {"content-type": "application/json", "x-request-id": request}
    if close:
        headers["connection"] = "close"
    try:
        line.request("POST", "/predict", body, headers)
        response = line.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        return _Answer(lost=type(error).__name__)
    if response.status != 200:
        return _Answer(lost=f"status {response.status}")
    if response.headers.get("x-request-id", request) != request:
        return _Answer(lost="the answer to another request")
    return _read(content, response.headers.get(HEADER), rows)


def _read(content: bytes, header: str | None, rows: int) -> _Answer:
    try:
        body = json.loads(content)
        predictions = body["predictions"]
        whole = len(predictions) == rows and all(0.0 <= float(each["p"]) <= 1.0 for each in predictions)
        releases = {header, body.get("release")} | {r["release"] for r in predictions if "release" in r}
    except (ValueError, KeyError, TypeError, AttributeError):
        return _Answer(lost="no answer of the contract")
    if not whole:
        return _Answer(lost="not a probability for each row")
    return _Answer(releases=frozenset(releases))


def _watch(threads: Sequence[threading.Thread], plan: _Plan, counts: _Counts, month: str) -> None:
    shown = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.05)
        if time.monotonic() - shown >= PROGRESS_SECONDS:
            shown = time.monotonic()
            lost = f", {counts.losses.total():,} lost" if counts.losses else ""
            step(f"replay of {month}: {counts.sent:,} requests sent{lost}")
