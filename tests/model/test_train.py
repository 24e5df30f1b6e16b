"""Training: the settings of params.yaml, the same bytes each time, ONNX that answers as sklearn does."""

import hashlib
import importlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.base.errors import Refused, UserError
from pipelines.base.files import sha256
from pipelines.core.model import Model
from pipelines.core.params import Params
from pipelines.core.tasks.binary import BINARY
from pipelines.training import table, tracking, train
from tests.problems.parcels import PROBLEM
from tests.problems.parcels.columns import CONTRACT
from tests.problems.parcels.estimators import ESTIMATORS


@pytest.fixture(scope="module")
def rows(small_built: Path) -> pd.DataFrame:
    return table.load(small_built / "build/prepared.parquet")


def changed(params: Params, **fields: object) -> Params:
    return params.model_copy(update={"train": params.train.model_copy(update=fields)})


def test_training_twice_gives_the_same_bytes(
    small_params: Params, small_built: Path, rows: pd.DataFrame
) -> None:
    importlib.import_module("xgboost")  # as another test, or shap, may have done: not this model's business
    again = hashlib.sha256(train.fit(small_params, rows, PROBLEM)).hexdigest()
    assert again == sha256(small_built / "models/model.onnx")
    other_seed = train.fit(changed(small_params, seed=small_params.train.seed + 1), rows, PROBLEM)
    assert hashlib.sha256(other_seed).hexdigest() != again


def test_another_process_gives_the_same_bytes_whatever_its_hash_seed(
    small_params: Params, small_built: Path
) -> None:
    """Within one process even the order of a set repeats, so this takes two."""
    script = (
        "import hashlib, sys; from pathlib import Path; from pipelines.core.params import Params; "
        "from tests.problems.parcels import PROBLEM; from pipelines.training import table, train; "
        "params = Params.model_validate_json(sys.argv[1]); rows = table.load(Path(sys.argv[2])).iloc[::10]; "
        "of = lambda name: params.train.model_copy(update={'estimator': name, 'settings': {}}); "
        "[print(hashlib.sha256(train.fit(params.model_copy(update={'train': of(name)}), rows, PROBLEM))"
        ".hexdigest()) for name in sorted(PROBLEM.estimators)]"
    )
    arguments = [small_params.model_dump_json(exclude={"tune"}), str(small_built / "build/prepared.parquet")]
    hashes = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, *arguments],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert len(hashes[0].split()) == len(ESTIMATORS)
    assert len(set(hashes)) == 1


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_estimator_answers_the_same_in_onnx(
    small_params: Params, rows: pd.DataFrame, tmp_path: Path, name: str
) -> None:
    params = changed(small_params, estimator=name, settings={})
    pipeline = train.fit_pipeline(params, table.training(params, rows, CONTRACT), PROBLEM)
    (tmp_path / "model.onnx").write_bytes(train.to_onnx(pipeline, CONTRACT))
    assert (
        train.parity(
            pipeline, Model(tmp_path / "model.onnx", BINARY), table.later(params, rows, CONTRACT), CONTRACT
        )
        <= train.PARITY
    )


def test_an_onnx_model_that_answers_otherwise_is_refused(
    small_params: Params, small_built: Path, rows: pd.DataFrame
) -> None:
    other = train.fit_pipeline(
        changed(small_params, seed=1), table.training(small_params, rows, CONTRACT), PROBLEM
    )
    with pytest.raises(Refused, match=r"the ONNX model differs from sklearn's by 0\."):
        train.parity(
            other,
            Model(small_built / "models/model.onnx", BINARY),
            table.later(small_params, rows, CONTRACT),
            CONTRACT,
        )


def test_only_labelled_rows_of_the_training_months_are_trained_on(
    small_params: Params, rows: pd.DataFrame
) -> None:
    found = table.training(small_params, rows, CONTRACT)
    assert found[CONTRACT.label.name].notna().all()
    assert (
        found[CONTRACT.time.name].max() < table.later(small_params, rows, CONTRACT)[CONTRACT.time.name].min()
    )
    later = rows[rows[CONTRACT.time.name] > found[CONTRACT.time.name].max()]
    with pytest.raises(UserError, match="no labelled row"):
        table.training(small_params, later, CONTRACT)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"estimator": "oracle"}, "train.estimator is 'oracle', but pipelines/problem/estimators.py has "),
        ({"settings": {"never_heard_of": 1}}, "train.settings.never_heard_of is not a setting of "),
        ({"settings": {"seed": 1}}, "train.settings.seed is not a setting of "),
    ],
)
def test_an_unknown_estimator_or_setting_is_one_sentence(
    small_params: Params, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError) as error:
        train.estimator(changed(small_params, **fields), PROBLEM)
    assert f"params.yaml: {said}" in str(error.value)


def test_a_setting_of_another_type_is_one_sentence(small_params: Params) -> None:
    setting = next(iter(small_params.train.settings))
    for wrong in ("many", True, None):
        with pytest.raises(UserError, match=rf"train\.settings\.{setting} is {wrong!r}, but .* takes "):
            train.estimator(changed(small_params, settings={setting: wrong}), PROBLEM)


def test_labels_of_one_kind_train_nothing(small_params: Params, rows: pd.DataFrame) -> None:
    found = table.training(small_params, rows, CONTRACT)
    with pytest.raises(Refused, match="has one value only"):
        train.fit_pipeline(small_params, found[found[CONTRACT.label.name] == True], PROBLEM)  # noqa: E712


def test_the_card_says_what_was_trained(small_params: Params, small_built: Path, rows: pd.DataFrame) -> None:
    card = json.loads((small_built / "models/model.json").read_text())
    found = table.training(small_params, rows, CONTRACT)
    assert card["train"]["rows"] == len(found)
    assert card["train"]["first"] == f"{small_params.train.first}-01"
    assert card["train"]["label_rate"] == pytest.approx(float(found[CONTRACT.label.name].mean()))
    assert card["features"] == [column.name for column in CONTRACT.features]
    assert card["parity"] <= train.PARITY
    assert set(card["schema"]["required"]) == {c.name for c in CONTRACT.features if not c.missing}
    assert not card["schema"]["additionalProperties"]


def test_the_model_takes_the_contract_s_features(small_built: Path) -> None:
    model = Model(small_built / "models/model.onnx", BINARY)
    assert model.inputs == tuple(column.name for column in CONTRACT.features)


def test_the_run_is_logged_with_the_hash_of_its_model(small_built: Path) -> None:
    with sqlite3.connect(small_built / "mlflow.db") as database:
        tags = dict(database.execute("select key, value from tags").fetchall())
        params = dict(database.execute("select key, value from params").fetchall())
    assert tags["model_sha256"] == sha256(small_built / "models/model.onnx")
    assert len(tags["git_commit"]) == 40
    assert "estimator" in params and "seed" in params


def test_a_tracking_server_that_does_not_answer_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(UserError, match=r"^MLFLOW_TRACKING_URI names a server"),
        tracking.beside(CONTRACT.name),
    ):
        pytest.fail("it is told before the training")


def test_numbers_reach_sklearn_as_they_reach_onnx(rows: pd.DataFrame) -> None:
    given = train.frame(rows.head(100), CONTRACT)
    taken = table.inputs(rows.head(100), CONTRACT)
    for column in CONTRACT.features:
        if column.type != "category":
            np.testing.assert_array_equal(given[column.name].to_numpy(), taken[column.name][:, 0])


def test_each_working_directory_has_its_own_local_registry(tmp_path, monkeypatch) -> None:
    """MLflow keeps a connection for each address: one relative address would join two checkouts."""
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        MlflowClient(tracking_uri=tracking.address()).create_experiment("flights")
    assert all((tmp_path / name / tracking.LOCAL).is_file() for name in ("one", "two"))


BESIDE = """
import threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np, pandas as pd, scipy.linalg, threadpoolctl
from pipelines.training import train
from tests.problems.parcels import CONTRACT, PARAMS, PROBLEM

second_fits, first_has_ended, found = threading.Event(), threading.Event(), []

class First:
    def fit(self, *_):
        assert second_fits.wait(30)

class Second:
    def fit(self, *_):
        second_fits.set()
        assert first_has_ended.wait(30)
        found.extend(each["num_threads"] for each in threadpoolctl.threadpool_info())

made = iter((First(), Second()))
train.estimator = lambda *_: next(made)
train.frame = lambda *_: None
rows = pd.DataFrame({CONTRACT.label.name: [True, False]})
with ThreadPoolExecutor(2) as pool:
    first, second = [pool.submit(train.fit_pipeline, PARAMS, rows, PROBLEM) for _ in range(2)]
    first.result(60)
    first_has_ended.set()
    second.result(60)
print(set(found))
"""


def test_fits_beside_each_other_keep_one_thread_each() -> None:
    """The first to end must not give the other its threads back: sums would depend on the machine's cores."""
    done = subprocess.run([sys.executable, "-c", BESIDE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["{1}"], done.stderr
