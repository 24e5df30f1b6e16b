"""Real, small models of two months, judged on the third."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.base.files import read_json, write_bytes, write_json
from pipelines.core import params as parameters
from pipelines.core import rows as road
from pipelines.judge import contained, explain
from pipelines.training import prepare, train
from pipelines.training import table as tables
from tests.model import warm
from tests.model.proposals import HONEST, LABEL, PARAMS, Made, commit, judge, whole
from tests.problems.parcels import PROBLEM, source
from tests.problems.parcels.columns import CONTRACT
from tests.shared import once


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    def make(folder: Path) -> None:
        months = ("2013-04", "2013-05", "2013-06", "2013-07")
        raw = pd.concat([source.read(month) for month in months], ignore_index=True)
        prepare.prepare(raw, PROBLEM).to_pickle(folder / "table.pickle")

    return pd.read_pickle(once(tmp_path_factory, "table", make) / "table.pickle")


@pytest.fixture(scope="session")
def window(table: pd.DataFrame) -> pd.DataFrame:
    time = table[CONTRACT.time.name]
    june = (time >= "2013-06-01") & (time < "2013-07-01")
    return table[june].drop(columns=LABEL).reset_index(drop=True)


@pytest.fixture(scope="session")
def fitted(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    made: dict[str, Made] = {}

    def fit(values: dict[str, Any] = PARAMS) -> Made:
        name = json.dumps(values, sort_keys=True)
        if name not in made:
            folder = once(
                tmp_path_factory,
                f"model-{hashlib.sha256(name.encode()).hexdigest()[:12]}",
                lambda folder: write_bytes(
                    folder / "model.onnx", train.fit(parameters.parse(values), table, PROBLEM)
                ),
            )
            made[name] = Made((folder / "model.onnx").read_bytes(), values)
        return made[name]

    return fit


@pytest.fixture
def base(tmp_path: Path, fitted: Callable[..., Made]) -> Path:
    """A base branch with a model, whose file is there."""
    return commit(fitted().write(tmp_path / "base"))


@pytest.fixture(autouse=True)
def started_warm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process of the judge imports for three seconds: here it is a fork of one that has, where a test
    does not try the process itself."""
    if request.path.stem not in COLD:
        monkeypatch.setattr(contained, "programs", warm)


@pytest.fixture(autouse=True)
def unexplained(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An explanation takes ten seconds: test_explain.py alone asks for it."""
    if request.path.stem != "test_explain":
        monkeypatch.setattr(explain, "PATIENCE_SECONDS", 0.0)


READ = road.read
COLD = ("test_hostile_model", "test_hostile_window")


@functools.cache
def _once(read: Callable[[str], pd.DataFrame], month: str) -> pd.DataFrame:
    return READ(month, PROBLEM)  # by `read`, which is the source's for now


@pytest.fixture(autouse=True)
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge reads the source's months as files for each proposal: here once for all."""
    monkeypatch.setattr(road, "read", lambda month, _: _once(source.read, month))


@pytest.fixture(scope="session")
def rows(table) -> int:
    return len(tables.training(parameters.parse(PARAMS), table, CONTRACT))


@pytest.fixture(scope="session")
def honest(fitted, rows, table, tmp_path_factory) -> Made:
    """What the pipeline makes of a proposal that changes params.yaml alone."""
    made = Made(fitted(HONEST).model, HONEST, rows=rows)
    folder = once(
        tmp_path_factory,
        "honest",
        lambda folder: write_json(folder / "beside.json", whole(made, table).beside),
    )
    return replace(made, beside=read_json(folder / "beside.json"))


@pytest.fixture
def judged(base, window, tmp_path):
    """The gate's word on a proposal of params.yaml alone that left this."""

    def of(made: Made, left: pd.DataFrame = window, **what: Any) -> tuple[str, dict[str, dict[str, Any]]]:
        candidate = made.write(tmp_path / "candidate", left)
        verdict, findings, _ = judge(candidate, base, **{"code": ()} | what)
        return verdict, findings

    return of
