"""The demo's proposals, found in the problem itself by what its author has: the training months."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.base.console import step
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import write_json
from pipelines.core import params as parameters
from pipelines.core.params import Params, Setting, Values, absolute
from pipelines.core.problem import Problem
from pipelines.training import table, tune

TRIALS = 4
REACH = 2.0  # times a setting at most, up or down: far ones make models that the gate calls too large or slow
STEP = 0.9999  # so little that no judge doubts it: a hundredth was INCONCLUSIVE once
HARM = 20.0

Changes = dict[str, Any]  # values of params.yaml by their dotted names


def write(problem: Problem, file: str) -> None:
    """Write what `find` finds in this checkout, after the stages."""
    write_json(Path(file), find(parameters.load(), problem, table.load()))


def find(params: Params, problem: Problem, rows: pd.DataFrame) -> dict[str, Changes]:
    """A `good` proposal and a `bad` one, from the rows of prepared.parquet.

    The good one is what a short `ml tune` near the current settings shows to be better, else a small step.
    UserError where nothing that is tried makes the model worse."""
    training = table.training(params, rows, problem.contract)
    found = {"bad": _harmful(params, problem, training), "good": small(params)}
    name = params.train.estimator
    settings, known = params.train.settings, params.tune.space.get(name, {})
    space = {n: near for n, values in known.items() if (near := _near(settings.get(n), values))}
    if space:
        asked = params.model_copy(update={"tune": params.tune.model_copy(update={"space": {name: space}})})
        for result in tune.searched(asked, problem, training, TRIALS)[2]:
            if result.high < 0:
                new = {name: value for name, value in result.settings.items() if value != settings.get(name)}
                return found | {"good": {f"train.settings.{name}": value for name, value in new.items()}}
    step("no trial is shown to be better than the current settings: the good proposal is a small step")
    return found


def small(params: Params) -> Changes:
    """The smallest step of a number in the settings, of a fraction where there is one: nothing is lost by it;
    without numbers another seed."""
    for name, value in sorted(_numbers(params), key=lambda one: isinstance(one[1], int)):
        factor = STEP if isinstance(value, float) else 1 / STEP  # a share may be 1 already, and a count 2
        return {f"train.settings.{name}": _times(value, factor)}
    return {"train.seed": params.train.seed + 1}


def _harmful(params: Params, problem: Problem, training: pd.DataFrame) -> Changes:
    """The first change that is shown to cost more than the gate's margin, else the one that costs most."""
    folds = tune.rolling_folds(params, training, problem.contract)
    sizes = np.concatenate([fold.sizes for fold in folds])
    now = np.concatenate(list(tune.day_losses(params, problem, folds)))
    costs: list[tuple[float, Changes]] = []
    for changes, changed in _harms(params):
        its = [_newest(fold, problem) for fold in folds] if "train.first" in changes else folds
        try:
            apart = np.concatenate(list(tune.day_losses(changed, problem, its))) - now
        except (UserError, Refused):  # it cannot be trained so
            continue
        costs.append((float(apart.sum() / sizes.sum()), changes))
        step(f"{words(changes)}: {costs[-1][0]:+.4f} of {problem.task.loss.name}")
        low, _ = tune.intervals(apart[None], sizes, params.gate.resamples, params.train.seed)
        margin = getattr(params.gate.margin, problem.task.loss.key)
        if low[0] > absolute(margin, float(now.sum() / sizes.sum())):
            return changes
    cost, worst = max(costs, key=lambda one: one[0], default=(0.0, {}))
    if cost <= 0:
        raise UserError(
            "params.yaml: the demo finds no train.settings that make this model worse, and so nothing that "
            "the gate could refuse: give the estimator a setting that it depends on"
        )
    return worst


def _harms(params: Params) -> Iterator[tuple[Changes, Params]]:
    """Each number in the settings, far too small or far too large; then hardly anything to learn from."""
    for name, value in _numbers(params):
        for factor in (1 / HARM, HARM):
            other = _times(value, factor)
            changed = tune.with_settings(params, params.train.estimator, {name: other})
            yield {f"train.settings.{name}": other}, changed
    yield {"train.first": params.train.last}, params


def _newest(fold: tune.Fold, problem: Problem) -> tune.Fold:
    """The fold, with the newest month before it alone to learn from."""
    month = fold.past[problem.contract.time.name].dt.to_period("M")
    return replace(fold, past=fold.past[month == month.max()])


def _numbers(params: Params) -> list[tuple[str, int | float]]:
    """The settings that are numbers above 0: the first says how long it trains, as a rule."""
    settings = params.train.settings.items()
    return [(n, v) for n, v in settings if isinstance(v, int | float) and not isinstance(v, bool) and v > 0]


def _near(value: Setting, known: Values) -> Values | None:
    """Those of the `known` values that are near the current one."""
    if known.low is None or known.high is None or isinstance(value, str | bool | None) or value <= 0:
        return known
    low, high = max(value / REACH, known.low), min(value * REACH, known.high)
    if isinstance(value, int):
        low, high = math.ceil(low), math.floor(high)
    return Values(low=low, high=high) if low < high else None


def _times(value: int | float, factor: float) -> int | float:
    """Times the factor; a whole number stays one above 0, and moves by one at least."""
    if isinstance(value, float):
        return float(f"{value * factor:.6g}")
    moved = round(value * factor)
    return max(moved if moved != value else value + (1 if factor > 1 else -1), 1)


def words(changes: Changes) -> str:
    """Changes of params.yaml as a person would say them."""
    return ", ".join(f"{name.removeprefix('train.settings.')}: {value}" for name, value in changes.items())
