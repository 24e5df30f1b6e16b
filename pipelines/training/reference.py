"""What production is compared with: the training window's features, constant and honest skill."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from pipelines.artifacts.reference import Feature, Reference, Skill
from pipelines.core import stats, tasks
from pipelines.core.contract import Column, Contract
from pipelines.core.params import Params
from pipelines.training import table

BLOCK = 30  # days
FOLDS = 4  # months, the newest: each costs a training, and older ones say little of the next
BESIDE = 2  # trainings, on any machine: what they need of memory must not depend on its cores
Answers = Callable[[Params, pd.DataFrame, pd.DataFrame], np.ndarray]


def build(params: Params, rows: pd.DataFrame, answers: Answers, contract: Contract) -> Reference:
    """What reference.json says of the labelled training rows.

    `features`: for each its bins, their shares, and the PSI above which it counts as drifted; `skills`:
    for each of the newest months the skill of a model of the months before (rolling origin), against always
    saying those months' constant."""
    time = rows[contract.time.name]
    block = _blocks(time)
    values = {
        "first": str(time.min().date()),
        "last": str(time.max().date()),
        "rows": len(rows),
        "constant": table.constant(rows, contract),
        "features": tuple(_feature(column, rows[column.name], block, params) for column in contract.features),
        "skills": tuple(_skills(params, rows, answers, contract)),
    }
    return Reference.model_validate(values, by_name=True)


def _feature(column: Column, values: pd.Series, block: np.ndarray, params: Params) -> Feature:
    category = column.type == "category"
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


def _skills(params: Params, rows: pd.DataFrame, answers: Answers, contract: Contract) -> list[Skill]:
    task, month = tasks.of(contract), rows[contract.time.name].dt.to_period("M")

    def skill(name: pd.Period) -> Skill | None:
        past, now = rows[month < name], rows[month == name]
        before, label = (task.labels(part[contract.label.name]) for part in (past, now))
        if task.lacks(before):
            return None
        constant, day = task.constant(before), np.zeros(len(now), dtype=np.int64)
        sums = task.sums(label, answers(params, past, now), day, 1, constant, params.decision)
        said = {"month": str(name), "rows": len(now), "skill": float(task.skill.of(sums, None))}
        return Skill.model_validate({**said, "constant": task.constant(label)}, by_name=True)

    names = sorted(month.unique())[1:][-FOLDS:][::-1]  # the longest goes first
    with ThreadPoolExecutor(BESIDE) as pool:
        return [found for found in list(pool.map(skill, names))[::-1] if found]
