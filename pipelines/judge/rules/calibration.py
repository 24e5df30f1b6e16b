"""Do the answers mean what they say, at least as much as the champion's?"""

import math

import numpy as np

from pipelines.core import stats
from pipelines.core.contract import Finding
from pipelines.core.tasks.task import Task
from pipelines.judge.evidence import Evidence, Scored

Measured = tuple[dict[str, float], dict[str, np.ndarray]]  # the figures, and their draws of shape (B,)


def calibration(e: Evidence) -> Finding | None:
    """No figure of the calibration is shown to be farther from its ideal than the champion's."""
    if e.candidate is None or e.equal:
        return None
    mine = measure(e, e.candidate)
    theirs = measure(e, e.champion) if e.champion is not None else None
    ideal, words = e.task.ideal, _words(e.task, mine, named=True)
    numbers = {name: stats.finite(value) for name, value in mine[0].items()}
    if theirs is not None:
        words += f" beside the champion's {_words(e.task, theirs)}"
    worse = [_farther(e, name, mine, theirs, e.params.gate.margin.calibration) for name in ideal]
    if any(math.isnan(low) for _, low, _ in worse):
        sentence = "The calibration does not exist on the test window."
        return Finding("calibration", "INCONCLUSIVE", sentence, numbers)
    if theirs is not None:  # else it is held against what a first model may be, which is wide
        numbers |= {"half": max(point - low for point, low, _ in worse), "margin": worse[0][2]}
    for name, (point, low, limit) in zip(ideal, worse, strict=True):
        numbers[f"{name}_farther"], numbers[f"{name}_low"] = point, low
        if low > 0 and point > limit:
            than = "than the champion's" if theirs is not None else "than any first model may be"
            sentence = f"{words}: the {name} is shown farther from {ideal[name]:g} {than}, by over {limit:g}."
            return Finding("calibration", "FAIL", sentence, numbers)
    shown = [name for name, (_, low, _) in zip(ideal, worse, strict=True) if low > 0]
    if shown and theirs is not None:
        sentence = f"{words}: the {' and the '.join(shown)} shown farther off, within the margin."
        return Finding("calibration", "PASS", sentence, numbers, warning=True)
    return Finding("calibration", "PASS", f"{words}: not shown worse.", numbers)


def measure(e: Evidence, scored: Scored) -> Measured:
    """Calibration on the test window and in each resample of its days."""
    assert e.window is not None
    label, p = e.window.label, scored.p
    return e.task.calibration(label, p), e.task.calibration_draws(label, p, e.window.units.of, e.weights)


def _words(task: Task, found: Measured, named: bool = False) -> str:
    """The figures, such as "1.02, +0.01": one whose ideal is 0 has a sign."""
    shown = {name: f"{value:{'.2f' if task.ideal[name] else '+.2f'}}" for name, value in found[0].items()}
    return ", ".join(f"{name} {value}" if named else value for name, value in shown.items()).capitalize()


def _farther(
    e: Evidence, name: str, mine: Measured, theirs: Measured | None, margin: float
) -> tuple[float, float, float]:
    """By how much farther from the ideal, the interval's lower end, and how much is allowed."""
    ideal, first = e.task.ideal[name], e.task.first[name]
    point, draws = abs(mine[0][name] - ideal), np.abs(mine[1][name] - ideal)
    if theirs is None:
        low, _ = e.interval(draws - first)
        return point, low, first
    point -= abs(theirs[0][name] - ideal)
    low, _ = e.interval(draws - np.abs(theirs[1][name] - ideal))
    return point, low, margin
