"""The demo finds its proposals in the problem itself, and says so where a problem is too small for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.base.errors import UserError
from pipelines.core.params import Params, parse
from pipelines.local import demo, proposing
from pipelines.training import table, tune
from tests.problems.parcels import PROBLEM
from tests.problems.parcels.columns import CONTRACT
from tests.problems.parcels.estimators import ESTIMATORS


def plain(*, seed: int, weight: float = 1.0) -> Pipeline:
    """A quick estimator with one setting that matters: how much a positive counts beside a negative."""
    numbers = [column.name for column in CONTRACT.features if column.type != "category"]
    columns = make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), numbers))
    model = LogisticRegression(C=1e-4, class_weight={1: weight}, random_state=seed)
    return make_pipeline(columns, model)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setitem(ESTIMATORS, "plain", plain)
    monkeypatch.setattr(tune, "STUDIES", tmp_path / "studies/tune.db")
    yield


def asked(params: Params, **settings: Any) -> Params:
    value = params.model_dump(mode="json")
    value["train"] |= {"estimator": "plain", "settings": settings}
    space = {"plain": {name: {"low": 0.5, "high": 50.0, "log": True} for name in settings}}
    value["tune"] = {"trials": 3, "folds": 1, "space": space if settings else {}}
    return parse(value)


@pytest.fixture(scope="module")
def rows(small_built: Path) -> pd.DataFrame:
    return table.load(small_built / "build/prepared.parquet")


def loss(params: Params, changes: dict[str, Any], rows: pd.DataFrame) -> float:
    """Of the changed settings, on the newest month of training."""
    weight = {"weight": changes["train.settings.weight"]} if "train.settings.weight" in changes else {}
    changed = asked(params, **{**params.train.settings, **weight})
    folds = tune.rolling_folds(changed, table.training(changed, rows, CONTRACT), CONTRACT)
    return float(np.concatenate(list(tune.day_losses(changed, PROBLEM, folds))).sum())


def test_a_good_one_is_shown_to_be_better_and_a_bad_one_to_cost(
    small_params: Params, rows: pd.DataFrame
) -> None:
    params = asked(small_params, weight=4.0)
    found = proposing.find(params, PROBLEM, rows)
    assert found == proposing.find(params, PROBLEM, rows)  # the same each time
    now, good, bad = (loss(params, changes, rows) for changes in ({}, found["good"], found["bad"]))
    assert good < now < bad


def test_where_nothing_is_better_the_good_one_is_a_small_step(
    small_params: Params, rows: pd.DataFrame
) -> None:
    found = proposing.find(asked(small_params, weight=1.0), PROBLEM, rows)
    assert found["good"] == {"train.settings.weight": 0.9999}
    assert found["bad"]["train.settings.weight"] in (0.05, 20.0)


def test_an_estimator_without_numbers_has_another_seed_and_fewer_months(
    small_params: Params, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = asked(small_params)
    tried = []

    def losses(params: Params, problem: Any, folds: Any) -> Iterator[np.ndarray]:
        tried.append(folds[0].past[CONTRACT.time.name].dt.to_period("M").nunique())
        yield np.where(tried[-1] == 1, 9.0, 1.0) * folds[0].sizes

    monkeypatch.setattr(tune, "day_losses", losses)
    folds = tune.rolling_folds
    monkeypatch.setattr(tune, "rolling_folds", lambda *given: twice(folds(*given)))
    found = proposing.find(params, PROBLEM, rows)
    seed = small_params.train.seed
    assert found["good"] == {"train.seed": seed + 1}
    assert found["bad"] == {"train.first": params.train.last} and tried == [2, 1]


def twice(folds: tuple[tune.Fold, ...]) -> tuple[tune.Fold, ...]:
    """The fold, with a past of two months."""
    (fold,) = folds
    time = CONTRACT.time.name
    earlier = fold.past.assign(**{time: fold.past[time] - pd.Timedelta(days=31)})
    return (tune.Fold(fold.month, pd.concat([earlier, fold.past]), fold.rows, fold.drawn),)


def test_a_problem_that_nothing_harms_is_one_sentence(
    small_params: Params, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "day_losses", lambda params, problem, folds: (fold.sizes for fold in folds))
    with pytest.raises(
        UserError, match=r"^params.yaml: the demo finds no train.settings that make this model"
    ):
        proposing.find(asked(small_params), PROBLEM, rows)


@pytest.mark.parametrize(
    ("settings", "step"),
    [
        ({"trees": 60, "leaf": 100}, {"train.settings.trees": 61}),
        ({"trees": 60, "rate": 0.05}, {"train.settings.rate": 0.049995}),
        ({"share": 1.0, "least": 2}, {"train.settings.share": 0.9999}),  # more than all does not exist
        ({"least": 2}, {"train.settings.least": 3}),
        ({"kind": "flat", "warm": True, "depth": None, "offset": -1}, {"train.seed": 8}),
    ],
)
def test_a_small_step_is_the_smallest_there_is(
    small_params: Params, settings: dict[str, Any], step: dict[str, Any]
) -> None:
    train = small_params.train.model_copy(update={"settings": settings, "seed": 7})
    assert proposing.small(small_params.model_copy(update={"train": train})) == step


def of(first: int, last: int) -> list[str]:
    return [f"2013-{month:02}" for month in range(first, last + 1)]


@pytest.mark.parametrize(
    ("known", "through", "months"),
    [
        (of(1, 12), "2013-06", of(7, 10)),
        (of(1, 9), "2013-06", of(7, 9)),
        (of(1, 8), "2013-05", of(6, 8)),  # data/ has a month that production would lack
    ],
)
def test_the_months_of_production_are_those_after_the_data(
    small_params: Params, known: list[str], through: str, months: list[str]
) -> None:
    data = small_params.data.model_copy(update={"through": "2013-06"})
    train = small_params.train.model_copy(update={"last": "2013-04"})
    params = small_params.model_copy(update={"data": data, "train": train})
    assert demo.months_of(params, known) == (through, months)


def test_a_source_with_three_months_more_than_it_trains_on_is_too_small(small_params: Params) -> None:
    train = small_params.train.model_copy(update={"last": "2013-04"})
    with pytest.raises(UserError, match=r"knows 3 later months \(the demo needs 4\)"):
        demo.months_of(small_params.model_copy(update={"train": train}), of(1, 7))
