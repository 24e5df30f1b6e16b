"""What production is compared with: the training window's features, constant and honest skill."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipelines.artifacts.reference import Feature, Reference, Skill
from pipelines.artifacts.serving import Interval
from pipelines.base.errors import UserError
from pipelines.core import stats, tasks, units, words
from pipelines.core.contract import Column, Contract
from pipelines.core.params import Params
from pipelines.training import table

BLOCK = 30  # days
FOLDS = 4  # months, the newest: each costs a training, and older ones say little of the next
BESIDE = 2  # trainings, on any machine: what they need of memory must not depend on its cores
ENOUGH = 28  # days that tell how far labels are from answers: older ones were answered by smaller models
Answers = Callable[[Params, pd.DataFrame, pd.DataFrame], np.ndarray]


def build(params: Params, rows: pd.DataFrame, answers: Answers, contract: Contract) -> Reference:
    """What reference.json says of the labelled training rows.

    `features`: for each its bins, their shares, and the PSI above which it counts as drifted; `skills`:
    for each of the newest months the skill of a model of the months before (rolling origin), against always
    saying those months' constant; `interval`: how far labels of the newest ones are from such a model's
    answers, which serves for the shipped model, whose training is longer."""
    time = rows[contract.time.name]
    block, folds = _blocks(time), _folds(params, rows, answers, contract)
    values = {
        "first": str(time.min().date()),
        "last": str(time.max().date()),
        "rows": len(rows),
        "constant": table.constant(rows, contract),
        "features": tuple(_feature(column, rows[column.name], block, params) for column in contract.features),
        "skills": tuple(_skill(fold, params, contract) for fold in folds),
        "interval": _interval(folds, params, contract),
    }
    return Reference.model_validate(values, by_name=True)


def _feature(column: Column, values: pd.Series, block: np.ndarray, params: Params) -> Feature:
    category = column.type == "category"
    values = values.map(words.count) if column.type == "words" else values
    given = values.to_numpy(dtype=object if category else np.float64)
    found = stats.bins(given, category=category, count=values.nunique() if category else 10)
    blocks = (block == number for number in np.unique(block))  # rare events leave some without a row
    counts = np.array([found.frequencies(given[inside]) * inside.sum() for inside in blocks])
    whole = counts.sum(axis=0)
    between = [stats.psi(whole - one, one) for one in counts] if len(counts) > 1 else []
    return Feature(
        name=column.name,
        type=column.type,
        edges=found.edges,
        values=found.values,
        frequencies=tuple((whole / whole.sum()).tolist()),
        threshold=max([params.drift.psi, *between]),
    )


def _blocks(time: pd.Series) -> np.ndarray:
    """Each row's block of days: equal ones of about BLOCK."""
    day = (time.dt.normalize() - time.min().normalize()).dt.days.to_numpy()
    days = int(day.max()) + 1
    return day * max(round(days / BLOCK), 1) // days


@dataclass(frozen=True)
class Fold:
    """A month of training with the answers of a model of the months before it."""

    month: str
    constant: Any  # of those months
    label: np.ndarray  # (n,)
    answers: np.ndarray  # (n,)
    rows: pd.DataFrame  # (n)


def _folds(params: Params, rows: pd.DataFrame, answers: Answers, contract: Contract) -> list[Fold]:
    task, month = tasks.of(contract), rows[contract.time.name].dt.to_period("M")

    def fold(name: pd.Period) -> Fold | None:
        past, now = rows[month < name], rows[month == name]
        before, label = (task.labels(part[contract.label.name]) for part in (past, now))
        if task.lacks(before):
            return None
        try:
            return Fold(str(name), task.constant(before), label, answers(params, past, now), now)
        except UserError:  # the whole training was possible: what it has may begin after these months
            return None

    names = sorted(month.unique())[1:][-FOLDS:][::-1]  # the longest goes first
    with ThreadPoolExecutor(BESIDE) as pool:
        return [found for found in list(pool.map(fold, names))[::-1] if found]


def _skill(fold: Fold, params: Params, contract: Contract) -> Skill:
    task, rows = tasks.of(contract), len(fold.label)
    day = np.zeros(rows, dtype=np.int64)
    sums = task.sums(fold.label, fold.answers, day, 1, fold.constant, params.decision)
    said = {"month": fold.month, "rows": rows, "skill": float(task.skill.of(sums, None))}
    return Skill.model_validate({**said, "constant": task.constant(fold.label)}, by_name=True)


def _interval(folds: list[Fold], params: Params, contract: Contract) -> Interval | None:
    """By the newest months that have ENOUGH days, or what else is drawn, or by all; None where these are too
    few."""
    if (level := params.decision.coverage) is None or not folds:
        return None
    for newest in (folds[-n:] for n in range(1, len(folds) + 1)):
        drawn = units.of(rows := pd.concat([fold.rows for fold in newest]), contract, params.gate.unit)
        if drawn.count >= ENOUGH:
            break
    label, said = (np.concatenate([getattr(fold, name) for fold in newest]) for name in ("label", "answers"))
    half_width = tasks.of(contract).half_width(label, said, drawn.of, level)
    if half_width is None:
        return None
    days = rows[contract.time.name].dt.normalize().nunique()
    return Interval(level=level, half_width=half_width, days=days)
