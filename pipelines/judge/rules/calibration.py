"""Do the probabilities mean what they say, at least as much as the champion's?"""

import math
from dataclasses import dataclass

import numpy as np

from pipelines.core import stats
from pipelines.core.contract import Finding
from pipelines.judge.evidence import Evidence, Scored

IDEAL = {"slope": 1.0, "intercept": 0.0}
FIRST = {"slope": 0.5, "intercept": 1.0}  # how far from the ideal a first model may be


@dataclass(frozen=True)
class Calibration:
    """Slope and intercept of a model on the test window, with their bootstrap's draws of shape (B,)."""

    slope: float
    intercept: float
    draws: dict[str, np.ndarray]


def calibration(e: Evidence) -> Finding | None:
    """Slope and intercept are not shown to be farther from 1 and 0 than the champion's."""
    if e.candidate is None or e.equal:
        return None
    mine = measure(e, e.candidate)
    theirs = measure(e, e.champion) if e.champion is not None else None
    words = f"Slope {mine.slope:.2f}, intercept {mine.intercept:+.2f}"
    numbers: dict[str, float | None] = {"slope": _finite(mine.slope), "intercept": _finite(mine.intercept)}
    if theirs is not None:
        words += f" beside the champion's {theirs.slope:.2f}, {theirs.intercept:+.2f}"
    worse = [_farther(name, mine, theirs, e.params.gate.margin.calibration) for name in IDEAL]
    if any(math.isnan(low) for _, low, _ in worse):
        return Finding(
            "calibration", "INCONCLUSIVE", "The calibration does not exist on the test window.", numbers
        )
    for name, (point, low, limit) in zip(IDEAL, worse, strict=True):
        numbers[f"{name}_farther"], numbers[f"{name}_low"] = point, low
        if low > 0 and point > limit:
            than = "than the champion's" if theirs is not None else "than any first model may be"
            sentence = f"{words}: the {name} is shown farther from {IDEAL[name]:g} {than}, by over {limit:g}."
            return Finding("calibration", "FAIL", sentence, numbers)
    shown = [name for name, (_, low, _) in zip(IDEAL, worse, strict=True) if low > 0]
    if shown and theirs is not None:
        sentence = f"{words}: the {' and the '.join(shown)} shown farther off, within the margin."
        return Finding("calibration", "PASS", sentence, numbers, warning=True)
    return Finding("calibration", "PASS", f"{words}: not shown worse.", numbers)


def measure(e: Evidence, scored: Scored) -> Calibration:
    """Calibration on the test window and in each resample of its days."""
    assert e.window is not None
    intercept, slope = stats.calibration(e.window.label, scored.p)
    draws = stats.calibration_draws(e.window.label, scored.p, e.window.day, e.weights)
    return Calibration(slope, intercept, {"intercept": draws[:, 0], "slope": draws[:, 1]})


def _farther(
    name: str, mine: Calibration, theirs: Calibration | None, margin: float
) -> tuple[float, float, float]:
    """By how much farther from the ideal, the interval's lower end, and how much is allowed."""
    ideal = IDEAL[name]
    point, draws = abs(getattr(mine, name) - ideal), np.abs(mine.draws[name] - ideal)
    if theirs is None:
        low, _ = stats.interval(draws - FIRST[name])
        return point, low, FIRST[name]
    point -= abs(getattr(theirs, name) - ideal)
    low, _ = stats.interval(draws - np.abs(theirs.draws[name] - ideal))
    return point, low, margin


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
