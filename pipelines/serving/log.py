"""The prediction log: JSON lines, written off the request's path; what finds no room is counted."""

import contextlib
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from pipelines.base.errors import UserError
from pipelines.core import tasks
from pipelines.core.contract import Contract
from pipelines.core.model import Row

CAPACITY = 100_000  # rows that may wait
DAYS = 400  # that are kept: the drift check looks back on months, an audit on a year
DAYS_SETTING = "GREENLIGHT_PREDICTION_DAYS"  # of the environment that deploys
FILE = re.compile(r"(\d{4}-\d{2}-\d{2})\.[^/]+\.jsonl")
WRITE_SECONDS = 0.1  # between two writes; what came in a whole second took up to 0.1 s of the answers' time


@dataclass(frozen=True)
class Entry:
    """A request and its answers."""

    time: datetime
    request: str
    rows: Sequence[Row]
    answers: Sequence[Any]
    shadow: bool


def days_kept(told: str | None) -> int:
    """How many days the log keeps. UserError where the setting is not a number of days."""
    if not told:
        return DAYS
    if not re.fullmatch(r"[1-9][0-9]{0,4}", told):
        raise UserError(f"{DAYS_SETTING} is {told!r}, and must be a whole number of days from 1 to 99999")
    return int(told)


class PredictionLog:
    """Appends to FOLDER/DAY.SLOT.PROCESS.jsonl, which no other process writes; deletes days not kept now."""

    def __init__(
        self,
        folder: Path,
        contract: Contract,
        *,
        release: str,
        slot: str = "none",
        dropped: Callable[[int], object] = lambda rows: None,
        capacity: int = CAPACITY,
        days: int = DAYS,
        every: float = WRITE_SECONDS,
    ) -> None:
        """`dropped` is told of rows that were not kept: the queue was full, or the disk refused."""
        self._folder, self._release, self._slot = folder, release, slot
        self._key, self._answer = contract.key.name, tasks.of(contract).answer
        self._kept = tuple(column.name for column in contract.loggable)
        self._dropped, self._capacity, self._days, self._every = dropped, capacity, days, every
        self._waiting: deque[Entry] = deque()
        self._rows = 0
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._closed = self._complained = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def add(self, request: str, rows: Sequence[Row], answers: Sequence[Any], shadow: bool = False) -> bool:
        """Queue a request's answers; False, and counted, without room. `shadow`: nobody acts on them."""
        entry = Entry(datetime.now(UTC), request, rows, answers, shadow)
        with self._lock:
            room = not self._closed and self._rows + len(rows) <= self._capacity
            if room:
                self._waiting.append(entry)
                self._rows += len(rows)
        if not room:
            self._dropped(len(rows))
        elif self._rows > self._capacity // 2:
            self._wake.set()
        return room

    def close(self) -> None:
        """Write what waits and end the thread. What comes later is dropped."""
        with self._lock:
            self._closed = True
        self._wake.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._every)
            self._wake.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            entries, self._waiting, self._rows = self._waiting, deque(), 0
        for day, of_day in groupby(entries, lambda entry: f"{entry.time:%Y-%m-%d}"):
            those = list(of_day)
            try:
                self._append(day, b"".join(self._lines(entry) for entry in those))
            except Exception as error:  # a thread that ended would end the log for good
                self._dropped(sum(len(entry.rows) for entry in those))
                if not self._complained:  # once: the counter tells the rest
                    self._complained = True
                    told = f"{self._folder}: predictions cannot be logged: {error}"
                    print(told, file=sys.stderr, flush=True)

    def _append(self, day: str, lines: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{day}.{self._slot}.{os.getpid()}.jsonl"
        if not path.exists():
            self._delete_before(date.fromisoformat(day) - timedelta(days=self._days))
        before = path.stat().st_size if path.exists() else 0
        # What callers sent is for the service's user alone.
        with open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            try:
                file.write(lines)
                file.flush()
            except OSError:
                os.truncate(path, before)  # half a line would spoil the file for its reader
                raise

    def _delete_before(self, first: date) -> None:
        for path in self._folder.iterdir():
            if (found := FILE.fullmatch(path.name)) and found[1] < first.isoformat():
                with contextlib.suppress(OSError):  # the other slot was faster
                    path.unlink()

    def _lines(self, entry: Entry) -> bytes:
        time = entry.time.isoformat(timespec="milliseconds")
        marked = {"shadow": True} if entry.shadow else {}
        lines = []
        for number, (row, answer) in enumerate(zip(entry.rows, entry.answers, strict=True)):
            line = {"time": time, "request": entry.request, "row": number, "release": self._release}
            features = {name: row.get(name) for name in self._kept}
            line |= {"features": features, "key": row.get(self._key), self._answer: answer, **marked}
            lines.append(to_json(line) + b"\n")
        return b"".join(lines)
