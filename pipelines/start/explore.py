"""`ml explore`: a page to look at before one models, build/explore.html; it needs no network, no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from pipelines.base.console import step
from pipelines.base.errors import one_line
from pipelines.base.files import write_text
from pipelines.core import datafiles, features, periods, stats, words
from pipelines.core.contract import Column
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Task
from pipelines.judge.rules import leaks
from pipelines.report import markdown, page
from pipelines.report.figures import BAD, COLOUR, DIM, STYLE, uri
from pipelines.start.limits import always

PAGE = Path("build/explore.html")
BARS = 40
ROWS = 10  # of a bin, in each month
VALUES = 12  # of a category, the most frequent ones; bins of a number
PARTS = (("o", COLOUR["candidate"]), ("s", COLOUR["champion"]), ("^", "#009E73"), ("D", "#CC79A7"))
SHORT = 12  # characters of a value
MOST_MONTHS = 8  # that are named


def run(params: Params, problem: Problem, folder: Path = datafiles.DATA, out: Path = PAGE) -> Path:
    """Write the page on the rows of data/, with what features.py makes of them. UserError where they are not
    there, or not as columns.py says."""
    contract, task = problem.contract, problem.task
    raw = datafiles.read(folder, params.data.first, params.data.through, contract)
    rows = features.built(raw, problem)
    month, months = pd.factorize(periods.months(rows[contract.time.name]), sort=True)
    known = rows[contract.label.name].notna().to_numpy()
    label = task.labels(rows[contract.label.name][known])
    day = rows[contract.time.name].dt.normalize().rank(method="dense").to_numpy(dtype=np.int64) - 1
    columns = [column for column in contract.columns if not (column.key or column.time)]
    told = [_told(column, rows[column.name], month, known, label, day, task) for column in columns]
    told.sort(key=lambda one: -np.nan_to_num(one.knows))
    step(f"{len(rows):,} rows, {len(told)} columns: drawing them")
    names = [str(name) for name in months]
    with rc_context(STYLE):
        drawn = {f"column-{n}": _plots(one, names, task) for n, one in enumerate(told) if one.names}
    text = markdown.render(
        "explore.md.j2",
        contract=contract,
        task=task,
        told=told,
        plots=drawn,
        months=months,
        rows=len(rows),
        labelled=len(label),
        constant=task.constant(label) if len(label) else None,
        again=int(raw.drop(columns=contract.key.name).duplicated().sum()),
        limit=params.gate.leak.feature,
        psi=params.drift.psi,
        naive=naive(params, label, month[known], day[known], task),
    )
    write_text(out, page.whole("Explored", contract.name, page.html(text, drawn), {}))
    step(f"written: {out}")
    return out


def naive(
    params: Params, label: np.ndarray, month: np.ndarray, day: np.ndarray, task: Task
) -> dict[str, list[float]]:
    """Each metric of the task, in its order, of two answers that need no model, from the second month on:
    always the mean of the months before, and that of the last month alone."""
    answers: dict[str, list[Any]] = {"the mean of all months before": [], "the mean of the last month": []}
    places = sorted(set(month))
    if len(places) < 2:
        return {}
    for last, place in pairwise(places):
        for said, past in zip(answers.values(), (month < place, month == last), strict=True):
            said.append(always(task, task.constant(label[past]), int((month == place).sum())))
    later = month > places[0]
    order = np.argsort(month[later], kind="stable")
    found, days = label[later][order], day[later][order] - day[later].min()
    constant = task.constant(label[~later])
    sums = {
        name: task.sums(found, np.concatenate(said), days, int(days.max()) + 1, constant, params.decision)
        for name, said in answers.items()
    }
    return {name: [float(metric.of(one, None)) for metric in task.metrics] for name, one in sums.items()}


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


def _told(
    column: Column,
    values: pd.Series,
    month: np.ndarray,
    known: np.ndarray,
    label: np.ndarray,
    day: np.ndarray,
    task: Task,
) -> Told:
    months, gone = int(month.max()) + 1, values.isna().to_numpy()
    missing = np.bincount(month, gone, months) / np.bincount(month, minlength=months)
    none = np.full(0, np.nan)
    counted = values.map(words.count) if column.type == "words" else values
    if column.type in ("text", "time"):
        return Told(column, values.nunique(), missing, (), none, None, [], none, np.nan)
    place, names = _bins(counted, column.type == "category", int(np.bincount(month).min()))
    bins = len(names)
    counts = np.bincount(month * bins + place, minlength=months * bins).reshape(months, bins)
    whole = counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        rows = np.bincount(place[known], minlength=bins)
        means = [np.bincount(place[known], of, bins) / rows for of in task.each(label).T]
    psi = np.array([stats.psi(whole - one, one) for one in counts])
    spread = _histogram(counted) if column.type in ("number", "integer", "words") else None
    own = column.label or not len(label) or task.lacks(label)
    knows = np.nan if own else leaks.alone(values[known], label, day[known], task)
    return Told(column, values.nunique(), missing, names, whole / whole.sum(), spread, means, psi, knows)


def _histogram(values: pd.Series) -> tuple[np.ndarray, np.ndarray] | None:
    given = values.dropna().to_numpy(dtype=np.float64)
    if len(np.unique(given)) <= VALUES:
        return None
    counts, edges = np.histogram(given, BARS, range=tuple(np.quantile(given, [0.005, 0.995])))
    return counts / len(values), edges


def _bins(values: pd.Series, category: bool, least: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """The bin of each row, and the bins' names: so few that a month of `least` rows fills them, else chance
    looks like drift."""
    most = min(VALUES, max(2, least // ROWS))
    gone = values.isna().to_numpy()
    if category:
        frequent = values.value_counts().index[:most]
        place = pd.Categorical(values, categories=frequent).codes.astype(np.int64)
        place[place < 0] = len(frequent)
        names = (*map(str, frequent), "others")
    else:
        numbers = values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        edges = np.unique(numbers[~gone])[1:]
        if len(edges) < most:
            names = tuple(f"{value:g}" for value in np.unique(numbers[~gone]))
        else:
            edges = np.array(stats.bins(numbers, count=most).edges or edges[:1])  # most are equal
            names = (f"< {edges[0]:.4g}", *(f"≥ {edge:.4g}" for edge in edges))
        place = np.searchsorted(edges, numbers, "right")
    place[gone] = len(names)
    return place, (*names, "missing")


def _plots(told: Told, months: Sequence[str], task: Task) -> Markup:
    """How its values are spread, the mean label at each of them, by month the share that is missing, and
    how far each month is from the others."""
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
