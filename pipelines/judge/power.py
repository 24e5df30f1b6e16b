"""`ml gate --power`: which margin so many days of the team's own data decide, and how many a margin needs.

How far apart models are that are equally good is measured: the champion is held beside twins of it, which
another seed and a few days less of training have made, by the gate's own rules. On the flights, models of
other settings that are as good are as far apart. Intervals shrink with the square root of the days."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.artifacts.model import Description
from pipelines.base.console import aligned, step
from pipelines.base.errors import UserError
from pipelines.core import datafiles, periods, stats, units
from pipelines.core.contract import Contract
from pipelines.core.model import Model
from pipelines.core.params import Params, absolute
from pipelines.core.problem import Problem
from pipelines.judge import rows as windows
from pipelines.judge import rules
from pipelines.judge.evidence import Evidence, Scored
from pipelines.training import table, train
from pipelines.training.prepare import prepare

TWINS = 3
LESS = 0.05  # of the training days
DAYS = (7, 14, 28, 56, 90, 180, 365)
SURE = 0.85  # the chance that an equally good model passes; one that loses the margin has .05


@dataclass(frozen=True)
class Power:
    """What a rule can decide, in the unit of its margin in params.yaml, where 0.05 is a share of 5 %."""

    rule: str
    margin: float
    half: float  # of the interval, were there one day; NaN where it does not exist
    share: bool  # of the champion's
    loss: float | None = None  # the champion's, where the margin might be a share of it

    def least(self, days: float) -> float:
        """The least margin that so many days decide."""
        return self.half / math.sqrt(days) * (1 + stats.normal(SURE) / stats.normal(0.95))

    @property
    def needs(self) -> float:
        """The days that the margin of params.yaml needs."""
        return (self.least(1) / self.margin) ** 2

    def words(self, margin: float) -> str:
        if math.isnan(margin) or self.share:
            return "–" if math.isnan(margin) else f"{100 * margin:.2g} %"
        return f"{margin:.2g}" + (f" ({100 * margin / self.loss:.2g} %)" if self.loss else "")


def run(params: Params, problem: Problem) -> None:
    """Print `power`, for the models/ and the data/ here."""
    found = power(params, problem)
    shown = [[f"{days}", *(one.words(one.least(days)) for one in found)] for days in DAYS]
    asked = ["params.yaml", *(one.words(one.margin) for one in found)]
    needs = ["needs days", *("–" if math.isnan(one.half) else f"{math.ceil(one.needs):,}" for one in found)]
    print("\n".join(aligned([["days", *(one.rule for one in found)], *shown, asked, needs])))
    print(
        f"\nThe least margin that so many days decide: an equally good model passes {SURE:.0%} of the time,\n"
        "one that loses the margin 5%. Of slices the best known counts. A proposal that changes more than\n"
        f"another seed and {LESS:.0%} of the training days do needs more days."
    )


def power(params: Params, problem: Problem, folder: Path = Path()) -> list[Power]:
    """What each rule with a margin can decide, by the champion in `folder`/models, on the days after its
    training in `folder`/data. UserError where one of them is not there."""
    contract = problem.contract
    model = Model(folder / "models/model.onnx", problem.task)
    trained_to, end = Description.read(folder / "models").train.last, periods.end(params.train.last)
    if trained_to >= f"{end:%Y-%m-%d}":
        wrong = f"models/ was trained to {trained_to}, and params.yaml ends with {params.train.last}"
        raise UserError(f"{wrong}: run `ml reproduce`")
    step("reading data/")
    raw = datafiles.read(folder / datafiles.DATA, params.data.first, params.data.through, contract)
    table.both_answers(params, rows := prepare(raw, problem), contract)
    trained, later = parts(params, rows, contract)
    return beside_twins(params, problem, trained, later, model.predict(table.inputs(later, contract)))


def parts(params: Params, rows: pd.DataFrame, contract: Contract) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of rows as the model takes them those that train, and the labelled ones after them."""
    trained, later = (part(params, rows, contract) for part in (table.training, table.later))
    return trained, later[later[contract.label.name].notna()].reset_index(drop=True)


def beside_twins(
    params: Params, problem: Problem, trained: pd.DataFrame, later: pd.DataFrame, answers: np.ndarray
) -> list[Power]:
    """What each rule with a margin can decide on the rows `later`, by the model of `trained` that answers."""
    contract, task = problem.contract, problem.task
    window = windows.window(later, "1678-01-01", contract, params.gate.unit)
    constant, unit = table.constant(trained, contract), window.units

    def scored(answers: np.ndarray) -> Scored:
        sums = task.sums(window.label, answers, unit.of, unit.count, constant, params.decision)
        return Scored(answers, sums, constant)

    champion, said = scored(answers), dict[str, list[dict[str, float]]]()
    for number, past in enumerate(_fewer(params, trained, problem)):
        if task.lacks(known := task.labels(past[contract.label.name])) or task.absent(known):
            continue  # what is rare was on the days that are left out
        step(f"training twin {number + 1} of {TWINS}")
        other = params.train.model_copy(update={"seed": params.train.seed + 1 + number})
        twin = scored(train.answers(problem, params.model_copy(update={"train": other}), past, later))
        e = Evidence(params, problem, window=window, candidate=twin, champion=champion)
        for found in rules.ask(e, rules.statistics(task)):
            numbers = {name: math.nan if value is None else value for name, value in found.numbers.items()}
            if "margin" in numbers:
                said.setdefault(found.rule, []).append(numbers)
    return [_power(rule, numbers, len(window.days), params, problem) for rule, numbers in said.items()]


def _fewer(params: Params, rows: pd.DataFrame, problem: Problem) -> Iterator[pd.DataFrame]:
    """The rows without a few days (or what else is drawn), other ones each time."""
    unit, draw = units.of(rows, problem.contract, params.gate.unit), np.random.default_rng(2)
    for _ in range(TWINS):
        gone = draw.permutation(unit.count)[: max(1, round(LESS * unit.count))]
        yield rows[~np.isin(unit.of, gone)]


def _power(rule: str, numbers: list[dict[str, float]], days: int, params: Params, problem: Problem) -> Power:
    halves = [one["half"] if "half" in one else (one["high"] - one["low"]) / 2 for one in numbers]
    half, loss = math.sqrt(float(np.mean(np.square(halves))) * days), numbers[0].get("champion")
    if rule == "cost" and loss:  # its margin is a share, and its numbers are not
        return Power(rule, absolute(params.gate.margin.cost, 1.0), half / loss, share=True)
    share = isinstance(getattr(params.gate.margin, rule, None), str)
    may = not share and rule in [metric.key for metric in problem.task.compared if metric.sign < 0]
    return Power(rule, numbers[0]["margin"], half, share, loss if may else None)
