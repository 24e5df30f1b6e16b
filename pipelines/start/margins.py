"""The margins that the days of a table decide: by a quick model of it, and what `ml gate --power` says."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any, cast

import yaml

from pipelines.base.console import step
from pipelines.core import params as parameters
from pipelines.core import periods, room
from pipelines.core.problem import Problem
from pipelines.judge import power
from pipelines.start import dates, limits, render
from pipelines.start.limits import Limits
from pipelines.start.propose import Proposal
from pipelines.training import evaluate, table, train
from pipelines.training.prepare import as_the_model_takes_them

ROWS, TELLING = 30_000, 500  # to train on; more, where fewer of them would have a rarer answer
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
    telling = task.telling(task.labels(trained[contract.label.name]))
    rows = min(max(ROWS, TELLING * len(trained) // telling), len(trained))
    trained = trained.sample(rows, random_state=asked.train.seed).sort_index()
    step(f"which margins {days} days decide: training a model on {rows:,} rows")
    problem = _made(proposal, texts["estimators.py"])
    answers = train.answers(problem, asked, trained, later)
    found = power.beside_twins(asked, problem, trained, later, answers)
    least = {one.rule: one.least(days) for one in found}
    constant = table.constant(trained, contract)
    both = (answers, limits.always(task, constant, len(later)))
    values = [evaluate.measure(asked, later, said, constant, contract) for said in both]
    margin, undecided, needed = dict[str, float](), dict[str, str](), 0.0
    for metric in task.compared:
        mine, its = (of[metric.key] or math.nan for of in values)
        low, known = LEAST * (abs(mine) if abs(mine) > 0 else 1.0), least.get(metric.key, math.nan)
        most = max(low, MOST * metric.sign * (mine - its))
        margin[metric.key] = _two_digits(min(most, max(low, known)))  # low where one of these is NaN
        if not known <= margin[metric.key]:
            needs = days * (known / margin[metric.key]) ** 2
            why = f"about {math.ceil(needs):,} would" if needs > 0 else "in some draws it does not exist"
            undecided[metric.key] = f"{days} days cannot decide so little; {why}"
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
