"""What is said of a model on the test window, and that it is true."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from pipelines.artifacts.serving import Golden
from pipelines.base.errors import UserError
from pipelines.core import tables
from pipelines.core.contract import Column
from pipelines.core.model import Model
from pipelines.core.params import Params
from pipelines.core.tasks import binary
from pipelines.core.tasks.binary import BINARY
from pipelines.judge import beside, proposal
from pipelines.training import evaluate, prepare, table
from tests.months import in_order
from tests.problems.parcels import PROBLEM, source
from tests.problems.parcels.columns import CONTRACT

LABEL = CONTRACT.label.name


@pytest.fixture(scope="module")
def rows(small_built: Path) -> pd.DataFrame:
    return table.load(small_built / "build/prepared.parquet")


@pytest.fixture(scope="module")
def model(small_built: Path) -> Model:
    return Model(small_built / "models/model.onnx", BINARY)


@pytest.fixture(scope="module")
def said(small_built: Path) -> dict[str, Any]:
    return json.loads((small_built / "models/metrics.json").read_text())


def test_metrics_are_those_of_sklearn_on_the_later_days(
    small_params: Params, rows: pd.DataFrame, model: Model, said: dict[str, Any]
) -> None:
    v = table.later(small_params, rows, CONTRACT).dropna(subset=[LABEL])
    label, p = v[LABEL].to_numpy(dtype=bool), model.predict(table.inputs(v, CONTRACT))
    assert said["rows"] == len(v)
    assert said["days"] == v[CONTRACT.time.name].dt.normalize().nunique()
    assert said["roc_auc"] == pytest.approx(sklearn_metrics.roc_auc_score(label, p))
    assert said["log_loss"] == pytest.approx(sklearn_metrics.log_loss(label, p))
    assert said["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(label, p))
    act = p >= small_params.decision.threshold
    costs = small_params.decision.false_alarm * (act & ~label) + small_params.decision.miss * (~act & label)
    assert said["expected_cost"] == pytest.approx(costs.mean())


def test_the_model_beats_the_base_rate_and_deciding_without_it(
    small_params: Params, rows: pd.DataFrame, said: dict[str, Any]
) -> None:
    v = table.later(small_params, rows, CONTRACT).dropna(subset=[LABEL])
    rate = float(table.training(small_params, rows, CONTRACT)[LABEL].mean())
    always = sklearn_metrics.log_loss(v[LABEL].to_numpy(dtype=bool), np.full(len(v), rate))
    assert said["log_loss"] < always
    assert said["brier_skill"] > 0 and said["roc_auc"] > 0.6
    act_on_all = small_params.decision.false_alarm * (1 - said["label_rate"])
    act_on_none = small_params.decision.miss * said["label_rate"]
    assert said["expected_cost"] < min(act_on_all, act_on_none)


def test_golden_rows_get_their_answers_and_no_other_model_gives_them(
    small_built: Path, small_params: Params, rows: pd.DataFrame, model: Model, tmp_path: Path
) -> None:
    from pipelines.training import train

    golden = Golden.read(small_built / "models")
    assert golden.largest_difference(model.predict_rows(CONTRACT.features, golden.rows), BINARY) == 0.0
    other = small_params.model_copy(update={"train": small_params.train.model_copy(update={"seed": 1})})
    (tmp_path / "other.onnx").write_bytes(train.fit(other, rows, PROBLEM))
    answers = Model(tmp_path / "other.onnx", BINARY).predict_rows(CONTRACT.features, golden.rows)
    assert golden.largest_difference(answers, BINARY) > 1e-4


def test_golden_rows_hold_what_a_caller_may_send(small_built: Path, rows: pd.DataFrame) -> None:
    golden = Golden.read(small_built / "models")
    assert len(golden.rows) == evaluate.GOLDEN

    def values(column: Column) -> list[Any]:
        return [row[column.name] for row in golden.rows]

    for column in CONTRACT.features:
        assert (None in values(column)) == bool(column.missing) or column.type == "category"
        if column.type == "category":
            assert "never seen" in values(column)
        elif column.type == "integer":
            assert all(isinstance(value, int) for value in values(column) if value is not None)


def test_a_row_goes_through_json_unchanged(model: Model, rows: pd.DataFrame) -> None:
    some = rows.iloc[:: len(rows) // 500]
    requests = [evaluate.as_request(row, CONTRACT) for row in some.to_dict("records")]
    answers = model.predict_rows(CONTRACT.features, json.loads(json.dumps(requests)))
    np.testing.assert_array_equal(answers, model.predict(table.inputs(some, CONTRACT)))


def test_the_window_has_every_later_row_and_no_label(
    small_built: Path, small_params: Params, rows: pd.DataFrame
) -> None:
    window = pd.read_parquet(small_built / "models/window.parquet")
    v = table.later(small_params, rows, CONTRACT)
    assert v[LABEL].isna().any()
    assert len(window) == len(v)
    assert LABEL not in window.columns
    assert set(window.columns).isdisjoint(column.name for column in CONTRACT.forbidden)


def test_the_months_say_which_the_model_has_seen(small_built: Path, small_params: Params) -> None:
    lines = pd.read_csv(small_built / "models/months.csv")
    assert list(lines["trained"]) == [True, True, False]
    assert lines["month"].iloc[-1] == small_params.data.through


@pytest.mark.parametrize("digits", [1, 8])  # with 1, many rows have the same answer
@pytest.mark.parametrize("rows", [2, 5, 150])
def test_curves_are_those_of_sklearn(rows: int, digits: int) -> None:
    draw = np.random.default_rng(rows)
    label, p = np.arange(rows) % 2 == 0, draw.random(rows).round(digits)
    plots = binary.BINARY.plots(label, p)
    fpr, tpr, _ = sklearn_metrics.roc_curve(label, p)
    precision, recall, _ = sklearn_metrics.precision_recall_curve(label, p)
    for name, curve in {"roc": (fpr, tpr), "precision_recall": (recall, precision)}.items():
        np.testing.assert_array_equal(list(plots[name].values()), curve)


def test_plots_are_small_and_what_dvc_yaml_draws(small_built: Path) -> None:
    import yaml

    plots = yaml.safe_load(Path("dvc.yaml").read_text())["plots"]
    named = [(axes, *y) for plot in plots for axes in plot.values() for y in axes["y"].items()]
    made = {f"models/plots/{path.name}" for path in (small_built / "models/plots").iterdir()}
    assert made <= {file for _, file, _ in named}  # the others are other kinds of answers' plots
    for axes, file, column in named:
        if file in made:
            curve = pd.read_csv(small_built / file)
            assert {axes["x"], column} <= set(curve.columns)
            assert 2 <= len(curve) <= evaluate.POINTS
            assert curve.notna().all(axis=None)


def test_serving_reads_only_what_callers_rely_on(small_built: Path, small_params: Params) -> None:
    assert json.loads((small_built / "models/serving.json").read_text()) == {
        "version": 1,
        "name": CONTRACT.name,
        "api": small_params.serving.api,
        "threshold": small_params.decision.threshold,
        "batch": small_params.serving.batch,
    }


def test_no_labelled_later_day_is_an_error(
    small_built: Path, small_params: Params, rows: pd.DataFrame, tmp_path: Path
) -> None:
    import shutil

    shutil.copy(small_built / "models/model.onnx", tmp_path)
    later = table.later(small_params, rows, CONTRACT).index
    unlabelled = rows.assign(**{LABEL: rows[LABEL].mask(rows.index.isin(later))})
    tables.write(tmp_path / "prepared.parquet", unlabelled)
    with pytest.raises(UserError, match="has no value in the months after"):
        evaluate.run(small_params, PROBLEM, tmp_path / "prepared.parquet", tmp_path)
    assert not (tmp_path / "metrics.json").exists()


def test_what_the_stages_leave_beside_the_model_is_what_the_judge_makes_of_it(
    small_params: Params, small_built: Path, model: Model
) -> None:
    """From the source, whose months are not sorted as files are; the judge has no file of the build's."""
    months = (source.read(month) for month in source.months()[:3])
    own = prepare.prepare(in_order(pd.concat(months, ignore_index=True)), PROBLEM)
    made = beside.of(small_params, own, model, beside.of_the_past(small_params, own, PROBLEM), CONTRACT)
    assert proposal.differing(small_built, made) is None
    made["models/reference.json"]["features"][0]["threshold"] += 1e-3
    assert "models/reference.json is not" in str(proposal.differing(small_built, made))


@pytest.mark.parametrize("p", [((0.1, 0.2), (0.3,)), (0.1, (0.2,)), ((), ()), ((0.1, 0.2), (0.1, 0.2))])
def test_golden_answers_of_another_shape_are_met_by_nothing(p: Any) -> None:
    golden = Golden(rows=({"x": 1}, {"x": 2}), p=p)
    assert golden.largest_difference([0.1, 0.2], BINARY) == math.inf
    assert Golden(rows=golden.rows, p=(0.1, 0.2)).largest_difference([0.1, 0.2], BINARY) == 0.0


def test_what_rounding_puts_beside_a_probability_is_one_and_nothing_else_is() -> None:
    output = np.array([[0, p] for p in (1.0000004, -4e-7, 0.3, 1.01, math.nan)], dtype=np.float32)
    answers = BINARY.answers(output)
    assert answers[:2].tolist() == [1.0, 0.0] and answers[2] == np.float32(0.3)
    assert BINARY.wrong(answers)[0].tolist() == [False, False, False, True, True]
