"""What the new release answers to copies of production's requests, paired with what the live one answered.

Envoy does not wait for the answers to the copies and throws them away; but both slots log what they predict,
and a copy keeps its request's id.

Where callers are too few to wait for, logged requests of the last weeks are asked of both slots. They go to
the slots past the edge, so that nothing counts them as callers'; their lines in the prediction log are marked
as answers to copies are, and count for nobody else.
"""

import json
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.artifacts.release import Release
from pipelines.artifacts.verdict import Verdict
from pipelines.base.errors import Refused, UserError
from pipelines.core.contract import Column, Contract
from pipelines.core.model import Model, Row
from pipelines.core.tasks.task import Task
from pipelines.edge.envoy import SHADOW_HEADER
from pipelines.rollout.checks import post

LEVELS = np.linspace(0, 1, 101)  # of the quantiles in gate.json
SHOWN = (0.0, 0.05, 0.5, 0.95, 1.0)  # of those that are journalled
SPREAD = 2.5  # a single day's differences are up to so many times their mean size from those of a month
SLACK = timedelta(seconds=2)  # a process writes its lines nearly in the order of their times
DAYS = 30  # of which logged requests are asked again
LEAST = 20  # pairs of answers, without which nothing can be said
Line = tuple[Any, Row]  # what a slot answered to a row, and the row


@dataclass(frozen=True)
class Comparison:
    """Differences: how far the new release's answers have `shifted` from the live one's, by row. Where a
    number is None, `why` says why."""

    pairs: int
    repeated: int  # requests left out, as their id was that of more than one
    skew: float | None  # of served answers and those of the same model here, on the row that was logged
    dp: tuple[float, ...]  # quantiles at SHOWN; empty without pairs
    wasserstein: float | None  # Wasserstein-1 between those here and those on the gate's test window
    why: tuple[str, ...] = ()


class Shadow:
    """Pairs the lines of two slots' prediction logs, as they come."""

    def __init__(self, predictions: Path, live: str, new: str, since: str, task: Task) -> None:
        """`live` and `new` are colours, `since` an ISO time with its zone: earlier lines do not count.

        A request whose id begins with `again` is the deployer's own, and no caller's: both slots mark its
        answers as they mark those to copies. Nobody else knows the word."""
        self.again = f"again-{uuid.uuid4().hex}-"
        self._folder, self._task = predictions, task
        self._since = datetime.fromisoformat(since)
        self._lines: dict[bool, dict[tuple[str, int], Line]] = {False: {}, True: {}}  # by: is it the copy's
        self._repeated: set[str] = set()
        self._offsets: dict[Path, int] = {}
        self._slots = {live: False, new: True}

    def read(self) -> int:
        """Read the whole lines that were logged since the last time, and return the number of pairs."""
        for path in sorted(self._folder.glob("*.jsonl")):
            day, slot, *_ = path.name.split(".")
            if slot in self._slots and day >= f"{(self._since - SLACK).astimezone(UTC):%Y-%m-%d}":
                for line in self._new_lines(path):
                    self._take(line, self._slots[slot])
        return self.pairs

    @property
    def pairs(self) -> int:
        """Rows that both slots answered."""
        return sum(1 for _ in self._paired())

    def compare(
        self, model: Model, features: Sequence[Column], expected: Sequence[float] | None, why_not: str = ""
    ) -> Comparison:
        """`model` is the new release's, `features` are its inputs; `expected` the 101 quantiles of the
        differences on the test window, or `why_not`, as from the function `expected`.

        A request's id that came more than once, or whose two lines saw other values, tells not which answer
        belongs to which request: all its rows are left out."""
        pairs = list(self._paired())
        skew, why_no_skew = _skew(model, features, [new for _, new in pairs])
        sides = (model.task.stacked(pair[side][0] for pair in pairs) for side in (0, 1))
        dp = model.task.shifted(*sides)
        apart = None
        if len(dp) and expected is not None:
            from scipy.stats import wasserstein_distance  # type: ignore[import-untyped]

            apart = float(wasserstein_distance(np.quantile(dp, LEVELS), expected))
        shown = tuple(np.quantile(dp, SHOWN).tolist()) if len(dp) else ()
        why = tuple(filter(None, (why_no_skew, why_not)))
        return Comparison(len(pairs), len(self._repeated), skew, shown, apart, why)

    def _take(self, line: bytes, copy: bool) -> None:
        try:
            value = json.loads(line)
            marked, again = bool(value.get("shadow")), str(value["request"]).startswith(self.again)
            if marked != (copy or again) or datetime.fromisoformat(value["time"]) < self._since:
                return
            key = (str(value["request"]), int(value["row"]))
            answer, row = self._task.read(value[self._task.answer]), dict(value["features"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return  # not a prediction: the drift check counts such lines
        lines, (_, other) = self._lines[copy], self._lines[not copy].get(key, (None, {}))
        # of what both releases log: lines that differ there are of two rows
        if key in lines or any(other[name] != row[name] for name in other.keys() & row.keys()):
            self._repeated.add(key[0])
        lines[key] = answer, row

    def _paired(self) -> Iterator[tuple[Line, Line]]:
        live, new = self._lines[False], self._lines[True]
        return ((live[key], new[key]) for key in new if key in live and key[0] not in self._repeated)

    def _new_lines(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if path not in self._offsets:
                self._offsets[path] = _first_since(file, size, self._since - SLACK)
            file.seek(min(self._offsets[path], size))  # the log cuts off what a full disk left of a line
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offsets[path] = file.tell()
                yield line


def expected(release: Path, live: Path) -> tuple[list[float] | None, str]:
    """The 101 quantiles of the differences that the gate saw on the test window, and ""; or None, and why
    they are not those of this rollout. Both are folders of releases in the store."""
    models = [Release.read(folder).model.sha256 for folder in (release, live)]
    if models[0] == models[1]:
        return [0.0] * len(LEVELS), ""
    if not (release / "evidence" / Verdict.NAME).is_file():
        return None, "no gate's report came with the release"
    try:
        dp = Verdict.read(release / "evidence").dp
    except UserError as error:
        return None, f"the gate's report is not taken: {error}"
    if dp is None:
        return None, "the gate's report compares no answers: it had no champion"
    if dp.champion != models[1]:
        judged, runs = dp.champion[:12], models[1][:12]
        return None, f"the gate compared the release with another model ({judged}) than runs ({runs})"
    return list(dp.quantiles), ""


def limit(least: float, expected: Sequence[float]) -> float:
    """The largest `Comparison.wasserstein` that passes: that of params.yaml: rollout.shadow, or more where
    the gate saw that the two models differ much. 1,000 pairs are a day of one weather, it saw a month."""
    return max(least, SPREAD * float(np.mean(np.abs(expected))))


def _skew(model: Model, features: Sequence[Column], lines: Sequence[Line]) -> tuple[float | None, str]:
    kept = {column.name for column in features if column.loggable}
    if lost := [name for name in model.inputs if name not in kept]:
        return None, f"the log does not keep {lost[0]}, so the answers cannot be made again here"
    if not lines:
        return None, "there are no pairs"
    inputs = [column for column in features if column.name in model.inputs]
    again = model.predict_rows(inputs, [row for _, row in lines])
    apart = model.task.difference(again, model.task.stacked(answer for answer, _ in lines))
    return float(np.nan_to_num(apart, nan=1.0).max()), ""


def _first_since(file: Any, size: int, since: datetime) -> int:
    """Where to begin in a log of a whole day: a line's start before which nothing is as new as `since`."""
    low, high = 0, size
    while high - low > 65_536:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        start, line = file.tell(), file.readline()
        try:
            early = datetime.fromisoformat(json.loads(line)["time"]) < since
        except (ValueError, KeyError, TypeError):
            return low  # read more rather than miss a line
        low, high = (start, high) if early else (low, middle)
    return low


def logged(predictions: Path, contract: Contract, most: int) -> list[Row]:
    """What callers asked within `DAYS`, each row once, the newest first; none where the log lacks much."""
    if any(not column.loggable and not column.missing for column in contract.features):
        return []
    names = [column.name for column in contract.features if column.loggable]
    oldest, found = f"{datetime.now(UTC) - timedelta(days=DAYS):%Y-%m-%d}", dict[str, Row]()
    for path in sorted(predictions.glob("*.jsonl"), reverse=True):
        if path.name[:10] < oldest or len(found) >= most:
            break
        with path.open("rb") as file:
            for line in reversed(deque(file, maxlen=4 * most)):
                if (row := _callers(line, names)) is not None and len(found) < most:
                    found.setdefault(json.dumps(row, sort_keys=True), row)
    return list(found.values())


def ask(live: str, new: str, rows: Sequence[Row], word: str) -> int:
    """Ask both slots each row, by one id that begins with `word`; returns how many both answered.

    Refused where the new one fails at what the live one answers. What either refuses (400) is left out."""
    both = 0
    for number, row in enumerate(rows):
        headers = {"x-request-id": f"{word}{number}", SHADOW_HEADER: "1"}
        if (before := post(live, [row], headers)[0]) != 200:
            continue
        if (now := post(new, [row], headers)[0]) not in (200, 400):
            raise Refused(f"{new} fails ({now}) at a logged request that the live release answers ({before})")
        both += now == 200
    return both


def _callers(line: bytes, names: Sequence[str]) -> Row | None:
    try:
        value = json.loads(line)
        features = value["features"]
        return None if value.get("shadow") else {name: features[name] for name in names if name in features}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # no prediction, or half a line
