"""What params.yaml asks of a model of a table, from the table itself: months, margins, floors, sizes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.core import periods
from pipelines.core.contract import Column
from pipelines.core.tasks.task import Task
from pipelines.start import dates
from pipelines.start.propose import Proposal

CHANCE = 0.5  # what always saying the training's mean has of a ranking; of the skill it has none
LEAF = 50  # of so many rows one is a leaf's least


@dataclass(frozen=True)
class Limits:
    """The values that params.yaml has of the table."""

    first: str
    last: str
    through: str
    leaf: int  # rows
    days: int  # that judge
    least: int  # of them, at which the gate decides
    margin: dict[str, float]  # by the metric's key, as margins.py finds them
    undecided: dict[str, str]  # of a margin that these days do not decide, why
    floor: dict[str, float]
    slice_rows: int
    slice_days: int
    leak: float
    drift_days: int
    folds: int  # months
    costs: dict[str, Any]  # of mistakes: each the same


def limits(proposal: Proposal, least: int) -> Limits:
    """What suits the table, of which so many days judge if it has them. UserError where it has too few
    months, or one answer only in some."""
    contract, task = proposal.contract, proposal.task
    time, label = proposal.rows[contract.time.name], proposal.rows[contract.label.name]
    first, last, through = dates.windows(time, label, task, proposal.kind, least)
    trained = (periods.within(time, first, last) & label.notna()).to_numpy()
    judged = (periods.within(time, first, through) & label.notna()).to_numpy() & ~trained
    days = time[judged].dt.normalize().nunique()
    dated = time[trained | judged]  # half of its months have rows on more than so many days:
    days_a_month = dated.dt.normalize().groupby(periods.months(dated)).nunique().median()
    return Limits(
        *(first, last, through),
        leaf=max(5, min(1000, int(trained.sum()) // LEAF)),
        days=days,
        least=max(7, min(least, days)),
        margin={metric.key: 1.0 for metric in task.compared},
        undecided={},
        floor={metric.key: 0.0 if metric is task.skill else CHANCE for metric in task.floors},
        slice_rows=max(20, min(500, int(judged.sum()) // 10)),
        slice_days=max(2, min(10, days // 3)),
        leak=max(0.80, min(0.99, round(proposal.strongest[1] + 0.03, 2))),
        drift_days=max(2, min(20, int(days_a_month) // 2)),
        costs=_costs(task, contract.label),
        folds=min(3, max(1, len(periods.between(first, last)) - 1)),
    )


def _costs(task: Task, label: Column) -> dict[str, Any]:
    """As `params.yaml: decision` says them: of a category each class that is true, and each other one."""
    others = {true: {other: 1.0 for other in label.values if other != true} for true in label.values}
    return dict.fromkeys(task.costs, others if label.values else 1.0)


def always(task: Task, constant: Any, rows: int) -> np.ndarray:
    """The answers of whoever says the constant for each of so many rows."""
    return np.full((rows, *task.shape), constant if task.shape else task.rate(constant))
