"""Logged requests of the last weeks, asked of both slots: where callers are too few to wait for.

They go to the slots past the edge, so that nothing counts them as callers'; their lines in the prediction log
are marked as answers to copies are, and count for nobody but `shadow`.
"""

import json
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.base.errors import Refused
from pipelines.core.contract import Contract
from pipelines.core.model import Row
from pipelines.edge.envoy import SHADOW_HEADER
from pipelines.rollout.checks import post

DAYS = 30  # of which logged requests are asked again
LEAST = 20  # pairs of answers, without which nothing can be said


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
