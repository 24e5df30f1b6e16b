"""Real, small models of two months, judged on the third."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines import params as parameters
from pipelines.problem import source
from pipelines.problem.columns import CONTRACT
from pipelines.review import explain
from pipelines.training import prepare, road, train
from tests.model.proposals import LABEL, PARAMS, Made, commit


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    months = ("2013-04", "2013-05", "2013-06", "2013-07")
    return prepare.prepare(pd.concat([source.read(month) for month in months], ignore_index=True))


@pytest.fixture(scope="session")
def window(table: pd.DataFrame) -> pd.DataFrame:
    time = table[CONTRACT.time.name]
    june = (time >= "2013-06-01") & (time < "2013-07-01")
    return table[june].drop(columns=LABEL).reset_index(drop=True)


@pytest.fixture(scope="session")
def fitted(table: pd.DataFrame) -> Callable[..., Made]:
    made: dict[str, Made] = {}

    def fit(values: dict[str, Any] = PARAMS) -> Made:
        name = json.dumps(values, sort_keys=True)
        if name not in made:
            made[name] = Made(train.fit(parameters.parse(values), table), values)
        return made[name]

    return fit


@pytest.fixture
def base(tmp_path: Path, fitted: Callable[..., Made]) -> Path:
    """A base branch with a model, whose file is there."""
    return commit(fitted().write(tmp_path / "base"))


@pytest.fixture(autouse=True)
def unexplained(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An explanation takes ten seconds: test_explain.py alone asks for it."""
    if request.path.stem != "test_explain":
        monkeypatch.setattr(explain, "PATIENCE", 0.0)


READ = road.read


@functools.cache
def _once(read: Callable[[str], pd.DataFrame], month: str) -> pd.DataFrame:
    return READ(month)  # by `read`, which is the source's for now


@pytest.fixture(autouse=True)
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge reads the source's months as files for each proposal: here once for all."""
    monkeypatch.setattr(road, "read", lambda month, _=CONTRACT: _once(source.read, month))
