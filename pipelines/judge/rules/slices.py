"""Does the candidate lose on a part of the events what it wins on the others?"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines.core import params as parameters
from pipelines.core import stats
from pipelines.core.contract import Contract, Finding
from pipelines.judge.evidence import Evidence, Scored, Window

HOURS = 6  # of a band of the day


@dataclass(frozen=True)
class Part:
    """One slice of the test window."""

    slice: str
    value: str
    inside: np.ndarray  # (n,) bool
    difference: float = math.nan  # Δ loss, candidate less champion; NaN where it is too small to judge
    low: float = math.nan  # simultaneous bounds: all slices are above theirs in 95 of 100 resamples
    high: float = math.nan


def slices(e: Evidence) -> Finding | None:
    """No slice is shown to lose more than allowed, all slices taken together.

    Each slice's difference is studentised by its bootstrap's standard error; t* is the 95 % quantile of the
    largest over the slices (max-statistic: Westfall & Young 1993; Romano & Wolf 2005), so that looking at
    many slices does not make a false alarm likelier."""
    if e.window is None or e.equal:
        return None
    judged = [part for part in parts(e) if math.isfinite(part.low)]
    if not judged:
        return None
    assert e.champion is not None  # else none is judged
    loss = float(e.task.loss.of(e.champion.sums, None))  # on the whole test window: a share is one of it
    limits = e.params.gate.slice
    fail, warn = (parameters.absolute(said, loss) for said in (limits.fail, limits.warn))
    worst, n = max(judged, key=lambda part: (part.low, part.difference)), len(judged)
    numbers = {"slices": n, "difference": worst.difference, "low": worst.low, "high": worst.high}
    numbers |= {"half": min(part.difference - part.low for part in judged), "margin": fail}
    span = f"{worst.difference:+.4f} [{worst.low:+.4f}, {worst.high:+.4f}]"
    words = f"{worst.slice} {worst.value}: Δ {e.task.loss.name} {span}"
    if worst.low > fail:
        sentence = f"{words}, shown to lose more than {fail:.3g}, among {n} slices."
        return Finding("slices", "FAIL", sentence, numbers)
    if hurt := [part for part in judged if part.difference > warn and part.low > 0]:
        names = ", ".join(f"{part.slice} {part.value}" for part in hurt[:5])
        sentence = f"{words}, shown worse, though not by more than {fail:.3g}; look at {names}."
        return Finding("slices", "PASS", sentence, numbers, warning=True)
    sentence = f"None of {n} slices is shown to lose more than {fail:.3g}; the nearest is {words}."
    return Finding("slices", "PASS", sentence, numbers)


def parts(e: Evidence) -> list[Part]:
    """All slices of the test window; those large enough to be judged have a difference with bounds."""
    if e.window is None or e.candidate is None:
        return []
    found = list(_cut(e.window, e.contract))
    if e.champion is None:
        return found
    enough = [index for index, part in enumerate(found) if _is_judged(e, e.window, part)]
    if not enough:
        return found
    bounds = _bounds(e, e.window, [found[index].inside for index in enough], e.candidate, e.champion)
    for index, *ends in zip(enough, *bounds, strict=True):
        found[index] = Part(found[index].slice, found[index].value, found[index].inside, *map(float, ends))
    return found


def _cut(window: Window, contract: Contract) -> Iterator[Part]:
    for column in contract.slices:
        if column.name in window.rows:
            values = window.rows[column.name].astype(str).to_numpy()
            for value in sorted(set(values)):
                yield Part(column.name, value, values == value)
    if contract.time.name in window.rows:
        band = window.rows[contract.time.name].dt.hour.to_numpy() // HOURS
        for number in range(24 // HOURS):
            if (inside := band == number).any():
                yield Part("time of day", f"{number * HOURS:02}–{(number + 1) * HOURS:02} h", inside)


def _is_judged(e: Evidence, window: Window, part: Part) -> bool:
    limits, unit = e.params.gate.slice, window.units
    days, drawn = (len(np.unique(of[part.inside])) for of in (window.day, unit.of))
    return part.inside.sum() >= limits.rows and days >= limits.days and drawn >= unit.least(limits.days)


def _bounds(
    e: Evidence, window: Window, inside: list[np.ndarray], one: Scored, other: Scored
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Δ loss of S slices and its simultaneous bounds: three arrays of shape (S,)."""
    unit, units = window.units.of, window.units.count
    lost = e.task.losses(window.label, one.p) - e.task.losses(window.label, other.p)
    rows = np.column_stack([np.bincount(unit[part], minlength=units) for part in inside])
    sums = np.column_stack([np.bincount(unit[part], weights=lost[part], minlength=units) for part in inside])
    point = sums.sum(axis=0) / rows.sum(axis=0)
    drawn = e.weights @ rows
    draws = np.where(drawn > 0, (e.weights @ sums) / np.maximum(drawn, 1), point)
    return stats.simultaneous(point, draws, e.level)


def table(e: Evidence) -> list[dict[str, object]]:
    """gate.json's slices: rows, label rate, both models' metrics, and the difference with its bounds."""
    found = []
    for part in parts(e):
        assert e.window is not None
        days = len(np.unique(e.window.day[part.inside]))
        entry = {"slice": part.slice, "value": part.value, "days": days, **part_of(e, part.inside)}
        judged = math.isfinite(part.low)
        found.append(entry | {n: getattr(part, n) if judged else None for n in ("difference", "low", "high")})
    return found


def part_of(e: Evidence, inside: np.ndarray) -> dict[str, object]:
    """Some rows of the test window: their count, label rate, and both models' compared metrics: None for one
    that does not exist."""
    assert e.window is not None
    label, found = e.window.label[inside], dict[str, object]()
    day = np.zeros(len(label), dtype=np.int64)
    for name, scored in e.scored.items():
        sums = e.task.sums(label, scored.p[inside], day, 1, scored.constant, e.params.decision)
        values = {metric.key: metric.of(sums, None) for metric in e.task.compared}
        found[name] = {key: float(value) if pd.notna(value) else None for key, value in values.items()}
    return {"rows": len(label), "label_rate": e.task.rate(e.task.constant(label)), **found}
