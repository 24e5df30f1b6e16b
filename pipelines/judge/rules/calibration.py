"""Do the answers mean what they say, at least as much as the champion's, and the intervals around them?"""

import math

import numpy as np

from pipelines.core import stats
from pipelines.core.contract import Finding
from pipelines.core.tasks.task import Task
from pipelines.judge.evidence import Evidence, Scored

Measured = tuple[dict[str, float], dict[str, np.ndarray]]  # the figures, and their draws of shape (B,)
NOTABLE = 0.1  # of the margin: what is farther off by less is not worth a reviewer's look
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
    shown = [name for name, (point, low, limit) in worse.items() if low > 0 and point > NOTABLE * limit]
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


def coverage(e: Evidence) -> Finding | None:
    """The interval that ships is not shown to hold fewer labels of the test window than the level that the
    base asks for. FAIL only where the share's whole interval is below it by more than the margin; where only
    the point is, it may be chance."""
    level, margin = e.params.decision.coverage, e.params.gate.margin.coverage
    if e.candidate is None or e.window is None or level is None or margin is None:
        return None
    if e.equal and e.same_level and e.retrained is not None:
        return None
    if e.shipped is None:
        if not e.same_level:  # more than any days tell: else nobody would be asked for it
            sentence = "No interval ships with the answers, and the proposal changes decision.coverage."
            return Finding("coverage", "INCONCLUSIVE", sentence)
        sentence = f"No interval ships with the answers: training has too few days for {100 * level:g}%."
        return Finding("coverage", "PASS", sentence, warning=True)
    units, half = e.window.units, e.shipped.half_width
    inside = np.abs(e.task.level(e.window.label) - e.task.level(e.candidate.p)) <= half
    held = np.bincount(units.of, weights=inside, minlength=units.count)
    rows = np.bincount(units.of, minlength=units.count)
    share, (low, high) = float(inside.mean()), e.interval((e.weights @ held) / (e.weights @ rows))
    numbers = {"share": share, "low": low, "high": high, "level": level, "margin": margin, "half_width": half}
    unit = f"{half:.4g} {e.contract.label.unit}".rstrip()
    words = f"{share:.1%} [{low:.1%}, {high:.1%}] of the labels are within {unit} of their answers"
    asked = f"the {100 * level:g}% that are asked for, by over {100 * margin:g} points"
    if high < level - margin:
        sentence = f"{words}, shown to be fewer than {asked}: the interval is too narrow."
        return Finding("coverage", "FAIL", sentence, numbers)
    if share < level - margin:
        sentence = f"{words}, fewer than {asked}, perhaps by chance."
        return Finding("coverage", "INCONCLUSIVE", sentence, numbers)
    wide = ", and less would have held these" if low > level else ""
    sentence = f"{words}; {100 * level:g}% are asked for{wide}."
    return Finding("coverage", "PASS", sentence, numbers, warning=high < level)
