"""Whatever problem is in the room: its parts fit each other, from the source to an answer."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.base.errors import UserError
from pipelines.core import params, rows, tables
from pipelines.core.model import Model
from pipelines.core.params import Params
from pipelines.problem import PROBLEM
from pipelines.serving.request import Reader
from pipelines.training import evaluate, table, train
from tests.problems.yours import REPOSITORY

CONTRACT = PROBLEM.contract


def test_params_ask_for_what_the_room_has() -> None:
    wanted = PROBLEM.task.suited(params.load(REPOSITORY / "params.yaml"))
    assert {wanted.data.first, wanted.data.through} <= set(rows.known(PROBLEM))
    assert wanted.train.estimator in PROBLEM.estimators
    assert set(wanted.tune.space) <= set(PROBLEM.estimators)


def test_a_month_is_the_same_bytes_each_time_and_each_key_is_once_in_it() -> None:
    month = rows.known(PROBLEM)[0]
    one, other = (rows.of_source(month, PROBLEM) for _ in range(2))
    assert tables.encoded(one) == tables.encoded(other)
    assert len(set(one[CONTRACT.key.name].to_pylist())) == len(one) > 0


def test_features_keep_the_rows_and_make_each_derived_column(room_params: Params, room_built: Path) -> None:
    made = table.load(room_built / "build/prepared.parquet")
    assert {column.name for column in CONTRACT.features} <= set(made.columns)
    of_month = rows.of_month(room_params.data.through, PROBLEM)
    assert len(of_month) == len(rows.read(room_params.data.through, PROBLEM))


@pytest.mark.parametrize("name", PROBLEM.estimators)
def test_each_estimator_answers_as_onnx_as_it_does_in_sklearn(
    name: str, room_params: Params, room_built: Path, tmp_path: Path
) -> None:
    given = room_params.model_copy(
        update={"train": room_params.train.model_copy(update={"estimator": name, "settings": {}})}
    )
    made = table.load(room_built / "build/prepared.parquet")
    pipeline = train.fit_pipeline(given, table.training(given, made, CONTRACT), PROBLEM)
    (tmp_path / "model.onnx").write_bytes(train.to_onnx(pipeline, CONTRACT))
    later = table.later(given, made, CONTRACT)
    assert (
        train.parity(pipeline, Model(tmp_path / "model.onnx", PROBLEM.task), later, CONTRACT) <= train.PARITY
    )


def test_a_caller_can_ask_what_the_model_was_trained_on(room_params: Params, room_built: Path) -> None:
    made = table.later(room_params, table.load(room_built / "build/prepared.parquet"), CONTRACT).head(3)
    reader, model = Reader(CONTRACT, 3), Model(room_built / "models/model.onnx", PROBLEM.task)
    asked = [evaluate.as_request(row, CONTRACT) for row in made.to_dict("records")]
    read = reader.read(json.dumps({"rows": asked}).encode())
    answers = model.predict_rows(CONTRACT.features, read)
    np.testing.assert_allclose(answers, model.predict(table.inputs(made, CONTRACT)), atol=1e-6)
    with pytest.raises(UserError):
        reader.read(json.dumps({"rows": [asked[0] | {"no such column": 1}]}).encode())
