"""How much can a window of so many rows show? On few rows, or few of the rarer answers, the bootstrap of days
is too sure of itself (docs/gate.md has the table), so what fails there must be shown more clearly."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pipelines.core.contract import Finding
from pipelines.core.tasks.task import Task
from pipelines.judge.evidence import Evidence

Rule = Callable[[Evidence], Finding | None]

ROWS, TELLING = 1000, 100  # fewer are few: what fails must fail at STRICT
STRICT = 0.995  # the level of an interval
LEAST = 10  # rows of the rarer answers; on fewer nothing is shown


def careful(rule: Rule) -> Rule:
    """The rule. Its FAIL on few rows must hold at STRICT, else a person decides; its PASS says so
    where it could not have been otherwise."""

    @functools.wraps(rule)  # the gate calls it by its name where it raises
    def asked(e: Evidence) -> Finding | None:
        found = rule(e)
        if found is None or e.window is None:
            return found
        if found.verdict == "FAIL" and not _shown(rule, e):
            few = f"{words(e.task, e.window.label)} do not show that surely: add to the test window."
            return _saying(found, few, verdict="INCONCLUSIVE")
        if found.verdict == "PASS" and (unseen := _unseen(found.numbers, e.window.units.name)):
            return _saying(found, unseen, warning=True)
        return found

    return asked


def words(task: Task, label: np.ndarray) -> str:
    """How many rows, and how many of them tell most."""
    rows, telling = len(label), task.telling(label)
    return f"{rows:,} rows" + (f" ({telling:,} of them with a rarer answer)" if telling < rows else "")


def _shown(rule: Rule, e: Evidence) -> bool:
    assert e.window is not None
    rows, telling = len(e.window.label), e.task.telling(e.window.label)
    if rows >= ROWS and telling >= TELLING:
        return True
    again = rule(dataclasses.replace(e, level=STRICT)) if telling >= LEAST else None
    return again is not None and again.verdict == "FAIL"


def _unseen(numbers: Mapping[str, float | None], drawn: str) -> str | None:
    """What a PASS with these numbers could not have seen, of so few of what is drawn. `half`: by how much a
    loss is known; `lead`: what the champion is better by than always giving the mean answer."""
    half, lead, margin, low, floor = map(numbers.get, ("half", "lead", "margin", "low", "floor"))
    if half is not None and margin is not None and half > margin:
        return f"so few {drawn} could not have shown a loss of {margin:.3g}, only one of over {half:.3g}."
    if lead is not None and margin is not None and lead <= margin:
        return "this margin lets always giving the mean answer pass: say a share of the champion's loss."
    if floor is not None and low is not None and low < floor:
        return f"so few {drawn} do not show that it is above it."
    return None


def _saying(found: Finding, more: str, **changed: Any) -> Finding:
    return dataclasses.replace(found, sentence=f"{found.sentence.rstrip('.')}; {more}", **changed)
