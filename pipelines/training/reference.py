"""What production is compared with: the training window's features, label rate and honest skill."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from pipelines.core import stats
from pipelines.core.contract import Column, Contract
from pipelines.core.params import Params

BLOCK = 30  # days
FOLDS = 4  # months, the newest: each costs a training, and older ones say little of the next
Answers = Callable[[Params, pd.DataFrame, pd.DataFrame], np.ndarray]


def build(params: Params, rows: pd.DataFrame, answers: Answers, contract: Contract) -> dict[str, Any]:
    """What reference.json says of the labelled training rows.

    `features`: for each its bins, their shares, and the PSI above which it counts as drifted; `brier_skill`:
    for each of the newest months the skill of a model of the months before (rolling origin), against always
    saying those months' label rate.
    """
    time = rows[contract.time.name]
    block = _blocks(time)
    return {
        "first": str(time.min().date()),
        "last": str(time.max().date()),
        "rows": len(rows),
        "label_rate": float(rows[contract.label.name].mean()),
        "features": [_feature(column, rows[column.name], block, params) for column in contract.features],
        "brier_skill": _skills(params, rows, answers, contract),
    }


def bins(entry: dict[str, Any]) -> stats.Bins:
    """The bins of an entry of `features`, to count production's values with."""
    return stats.Bins(edges=tuple(entry["edges"]), values=tuple(entry["values"]))


def _feature(column: Column, values: pd.Series, block: np.ndarray, params: Params) -> dict[str, Any]:
    category = column.type == "category"
    given = values.to_numpy(dtype=object)
    found = stats.bins(given, category=category, count=len(set(values.dropna())) if category else 10)
    counts = np.array(
        [
            found.frequencies(given[block == number]) * (block == number).sum()
            for number in range(block.max() + 1)
        ]
    )
    whole = counts.sum(axis=0)
    between = [stats.psi(whole - one, one) for one in counts] if len(counts) > 1 else []
    return {
        "name": column.name,
        "type": column.type,
        "edges": list(found.edges),
        "values": list(found.values),
        "frequencies": (whole / whole.sum()).tolist(),
        "threshold": max([params.drift.psi, *between]),
    }


def _blocks(time: pd.Series) -> np.ndarray:
    """Each row's block of days: equal ones of about BLOCK."""
    day = (time.dt.normalize() - time.min().normalize()).dt.days.to_numpy()
    days = int(day.max()) + 1
    return day * max(round(days / BLOCK), 1) // days


def _skills(params: Params, rows: pd.DataFrame, answers: Answers, contract: Contract) -> list[dict[str, Any]]:
    month = rows[contract.time.name].dt.to_period("M")
    skills = []
    for name in sorted(month.unique())[1:][-FOLDS:]:
        past, now = rows[month < name], rows[month == name]
        label = now[contract.label.name].to_numpy(dtype=bool)
        rate = float(past[contract.label.name].mean())
        if past[contract.label.name].nunique() < 2:
            continue
        p = answers(params, past, now)
        sums = stats.day_sums(label, p, np.zeros(len(p), dtype=np.int64), 1, params.decision.threshold)
        skills.append(
            {
                "month": str(name),
                "rows": len(now),
                "label_rate": float(label.mean()),
                "brier_skill": float(stats.brier_skill(sums, rate)),
            }
        )
    return skills
