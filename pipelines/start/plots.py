"""The plots of explore.html, one a column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from pipelines.base.errors import one_line
from pipelines.core.contract import Column
from pipelines.core.tasks.task import Task
from pipelines.report.figures import BAD, COLOUR, DIM, STYLE, uri

PARTS = (("o", COLOUR["candidate"]), ("s", COLOUR["champion"]), ("^", "#009E73"), ("D", "#CC79A7"))
SHORT = 12  # characters of a value
MOST_MONTHS = 8  # that are named


@dataclass(frozen=True)
class Told:
    """What the rows tell of a column: in M months, and in B bins of its values, the last for missing ones. A
    text and a time have no bins."""

    column: Column
    distinct: int
    missing: np.ndarray  # (M,) shares
    names: tuple[str, ...]  # (B,)
    shares: np.ndarray  # (B,)
    histogram: tuple[np.ndarray, np.ndarray] | None  # of many numbers: shares and edges, without the farthest
    levels: list[np.ndarray]  # for each of Task.parts (B,): the mean label
    psi: np.ndarray  # (M,) of each month against all others
    knows: float  # of the label, alone, as Task.knows


def draw(told: Sequence[Told], months: Sequence[str], task: Task) -> dict[str, Markup]:
    """By the column's place: how its values are spread, the mean label at each of them, by month the share
    that is missing and how far the month is from the others."""
    with rc_context(STYLE):
        return {f"column-{n}": _column(one, months, task) for n, one in enumerate(told) if one.names}


def _column(told: Told, months: Sequence[str], task: Task) -> Markup:
    whole = Figure(figsize=(9.6, 2.1), layout="constrained")
    spread, label, missing, drift = whole.subplots(1, 4)
    there = slice(None) if told.shares[-1] else slice(-1)
    names = [one_line(name, SHORT) for name in told.names[there]]
    if told.histogram:
        spread.stairs(*told.histogram, fill=True, color=COLOUR["candidate"])
        spread.tick_params(axis="x", labelsize=7)
    else:
        spread.bar(range(len(names)), told.shares[there], color=COLOUR["candidate"])
    drawn = list(zip(task.parts, told.levels, strict=True))[-len(PARTS) :][::-1]
    for (part, level), (mark, colour) in zip(drawn, PARTS, strict=False):
        label.plot(range(len(names)), level[there], mark, color=colour, markersize=4, label=part)
        label.axhline(np.nansum(level * told.shares), color=DIM, linewidth=0.8)
    if len(drawn) > 1:
        label.legend(fontsize=6, frameon=True)
    for axes in (label,) if told.histogram else (spread, label):
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6.5)
    places, every = range(len(months)), -(-len(months) // MOST_MONTHS)
    missing.bar(places, told.missing, color=COLOUR["champion"])
    missing.set_ylim(0, max(0.01, 1.1 * float(told.missing.max())))
    drift.bar(places, told.psi, color=BAD)
    for axes in (missing, drift):
        axes.set_xticks(places[::every], months[::every], rotation=90, fontsize=6.5)
    titles = ("share of the rows", f"{task.observed} at it", "share missing", "PSI beside the other months")
    for axes, title in zip((spread, label, missing, drift), titles, strict=True):
        axes.set_title(title, fontsize=8)
        axes.tick_params(axis="y", labelsize=7)
    return uri(whole)
