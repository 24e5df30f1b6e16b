"""Do the answers mean what they say, at least as much as the champion's?"""

import math

import numpy as np

from pipelines.core import stats
from pipelines.core.contract import Finding
from pipelines.core.tasks.task import Task
from pipelines.judge.evidence import Evidence, Scored

Measured = tuple[dict[str, float], dict[str, np.ndarray]]  # the figures, and their draws of shape (B,)
PAIR = 2  # figures that are told, and judged each at the gate's level; of more all are at that of a pair


def calibration(e: Evidence) -> Finding | None:
    """No figure of the calibration is shown to be farther from its ideal than the champion's."""
    if e.candidate is None or e.equal:
        return None
    mine = measure(e, e.candidate)
    theirs = measure(e, e.champion) if e.champion is not None else None
    ideal, margin = e.task.ideal, e.params.gate.margin.calibration
    numbers = {name: stats.finite(value) for name, value in mine[0].items()}
    worse = {name: _farther(e, name, mine, theirs, margin) for name in ideal}
    if any(math.isnan(low) for _, low, _ in worse.values()):
        sentence = "The calibration does not exist on the test window."
        return Finding("calibration", "INCONCLUSIVE", sentence, numbers)
    if theirs is not None:  # else it is held against what a first model may be, which is wide
        numbers |= {"half": max(point - low for point, low, _ in worse.values()), "margin": margin}
    numbers |= {f"{name}_farther": point for name, (point, _, _) in worse.items()}
    numbers |= {f"{name}_low": low for name, (_, low, _) in worse.items()}
    failing = [name for name, (point, low, limit) in worse.items() if low > 0 and point > limit]
    nearest = sorted(ideal, key=lambda name: (name not in failing, -worse[name][1]))[:PAIR]
    told = [name for name in ideal if name in nearest]
    words = _words(e.task, mine, told, named=True)
    if theirs is not None:
        words += f" beside the champion's {_words(e.task, theirs, told)}"
    if len(told) < len(ideal):
        words += f" (of {len(ideal)} figures the nearest to be worse)"
    if failing:
        name = failing[0]
        than = "than the champion's" if theirs is not None else "than any first model may be"
        end = f"the {name} is shown farther from {ideal[name]:g} {than}, by over {worse[name][2]:g}."
        return Finding("calibration", "FAIL", f"{words}: {end}", numbers)
    shown = [name for name, (_, low, _) in worse.items() if low > 0]
    if shown and theirs is not None:
        sentence = f"{words}: the {' and the '.join(shown)} shown farther off, within the margin."
        return Finding("calibration", "PASS", sentence, numbers, warning=True)
    return Finding("calibration", "PASS", f"{words}: not shown worse.", numbers)


def measure(e: Evidence, scored: Scored) -> Measured:
    """Calibration on the test window and in each resample of its days."""
    assert e.window is not None
    label, p = e.window.label, scored.p
    return e.task.calibration(label, p), e.task.calibration_draws(label, p, e.window.units.of, e.weights)


def _words(task: Task, found: Measured, told: list[str], named: bool = False) -> str:
    """These figures, such as "1.02, +0.01": one whose ideal is 0 has a sign."""
    shown = {name: f"{found[0][name]:{'.2f' if task.ideal[name] else '+.2f'}}" for name in told}
    words = ", ".join(f"{name} {value}" if named else value for name, value in shown.items())
    return words[0].upper() + words[1:]


def _farther(
    e: Evidence, name: str, mine: Measured, theirs: Measured | None, margin: float
) -> tuple[float, float, float]:
    """By how much farther from the ideal, the interval's lower end (Bonferroni), and how much is allowed."""
    ideal, first = e.task.ideal[name], e.task.first[name]
    level = 1 - (1 - e.level) * PAIR / len(e.task.ideal)
    point, draws = abs(mine[0][name] - ideal), np.abs(mine[1][name] - ideal)
    if theirs is None:
        low, _ = stats.interval(draws - first, level)
        return point, low, first
    point -= abs(theirs[0][name] - ideal)
    low, _ = stats.interval(draws - np.abs(theirs[1][name] - ideal), level)
    return point, low, margin
