"""The margins that the days of a table decide: by a quick model of it, and what `ml gate --power` says."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import yaml

from pipelines.base.console import step
from pipelines.core import params as parameters
from pipelines.core import periods, room
from pipelines.core.problem import Problem
from pipelines.judge import power
from pipelines.start import dates, limits, render
from pipelines.start.limits import Limits
from pipelines.start.propose import Proposal
from pipelines.training import table, train
from pipelines.training.prepare import as_the_model_takes_them

ROWS = 30_000  # to train on at most
LEAST = 0.01  # of what the model has
MOST = 0.5  # of what it is better by than always saying the mean: a greater margin would let nearly all pass


def decided(proposal: Proposal, least: int = dates.LEAST_DAYS) -> Limits:
    """Limits with the margins that the days decide. At least so many judge, and as many as sensible margins
    need, where the table has them."""
    wanted, needed = _by_power(proposal, limits.limits(proposal, least))
    if needed > wanted.days and limits.limits(proposal, math.ceil(needed)).days >= needed:
        return decided(proposal, math.ceil(needed))
    return wanted


def _by_power(proposal: Proposal, wanted: Limits) -> tuple[Limits, float]:
    """Limits with such margins, and the days that would decide all of them."""
    contract, task, days = proposal.contract, proposal.task, wanted.days
    texts = render.rendered(proposal, wanted)
    asked = parameters.parse(yaml.safe_load(texts["params.yaml"]))
    inside = periods.within(proposal.rows[contract.time.name], wanted.first, wanted.through)
    trained, later = power.parts(asked, as_the_model_takes_them(proposal.rows[inside], contract), contract)
    trained = trained.sample(min(ROWS, len(trained)), random_state=asked.train.seed).sort_index()
    step(f"which margins {days} days decide: training a model on {len(trained):,} rows")
    problem = _made(proposal, texts["estimators.py"])
    answers = train.answers(problem, asked, trained, later)
    found = power.beside_twins(asked, problem, trained, later, answers)
    least = {one.rule: one.least(days) for one in found}
    label, constant = task.labels(later[contract.label.name]), table.constant(trained, contract)
    no_day, mean = np.zeros(len(label), dtype=np.int64), limits.always(task, constant, len(label))
    both = [task.sums(label, said, no_day, 1, constant, asked.decision) for said in (answers, mean)]
    margin, undecided, needed = dict(wanted.margin), dict[str, str](), 0.0
    for metric in task.compared:
        mine, its = (float(metric.of(sums, None)) for sums in both)
        low, known = LEAST * abs(mine), least.get(metric.key, math.nan)
        if (most := max(low, MOST * metric.sign * (mine - its))) > 0:
            margin[metric.key] = _two_digits(min(most, max(low, known)) if known > 0 else most)
        if not known <= margin[metric.key]:
            needs = days * (known / margin[metric.key]) ** 2
            more = f"; about {math.ceil(needs):,} would" if needs > 0 else ""
            undecided[metric.key] = f"{days} days cannot decide so little{more}"
            needed = max(needed, needs)
    return dataclasses.replace(wanted, margin=margin, undecided=undecided), needed


def _made(proposal: Proposal, estimators: str) -> Problem:
    """What power asks a problem for, before the room is there."""
    names: dict[str, Any] = {"CONTRACT": proposal.contract}
    exec(estimators.replace(f"from {room.PACKAGE}.columns import CONTRACT\n", ""), names)
    has = {"contract": proposal.contract, "task": proposal.task, "estimators": names["ESTIMATORS"]}
    return cast(Problem, SimpleNamespace(**has))


def _two_digits(value: float) -> float:
    """Rounded up."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.1e}")
