"""What a build can leave that is not what the proposal makes: each forging is refused by what the judge sees
for itself, and the honest proposal beside it passes. Here: rows, model and training."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from pipelines.base.files import sha256
from pipelines.judge import retrain
from pipelines.judge import rows as rows_of
from tests.model.proposals import (
    HONEST,
    LABEL,
    Made,
    changed,
    judge,
    linear,
    onnx_model,
    refused,
    settings,
    whole,
)
from tests.problems.parcels.columns import CONTRACT


def with_the_label_in(column: str, window: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The label hidden in a fraction: the number reads the same but for what a threshold sees."""
    key = CONTRACT.key.name
    label = table.set_index(key)[LABEL].reindex(window[key]).fillna(False).to_numpy(dtype=bool)
    return window.assign(**{column: (window[column] + np.where(label, 0.25, 0.0)).astype(np.float32)})


def reads_the_fraction(column: str) -> bytes:
    """p = .9 where the column has a fraction, .1 where it has none."""
    constants = [
        helper.make_node("Constant", [], [n], value=helper.make_tensor(n, TensorProto.FLOAT, [1], [v]))
        for n, v in (("scale", 3.2), ("low", 0.1), ("one", 1.0))
    ]
    steps = [
        helper.make_node("Floor", ["x"], ["whole"]),
        helper.make_node("Sub", ["x", "whole"], ["fraction"]),
        helper.make_node("Mul", ["fraction", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "low"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    ]
    return onnx_model([column], constants + steps)


def test_times_that_are_texts_of_several_zones_are_a_sentence(fitted, base, window, tmp_path) -> None:
    time = CONTRACT.time.name
    zones = np.where(np.arange(len(window)) % 2 == 0, "+05:00", "Z")
    texts = window.assign(**{time: window[time].dt.strftime("%Y-%m-%dT%H:%M") + zones})
    candidate = fitted(HONEST).write(tmp_path / "candidate", texts)
    said = judge(candidate, base)[1]["rows"]
    assert said["verdict"] == "FAIL" and f"a raw column is not the source's: {time}" in said["sentence"]


def test_nothing_is_hidden_in_the_sign_of_a_zero() -> None:
    column = next(column for column in CONTRACT.raw if column.type == "number")
    ours = pd.Series([0.0, -0.0, np.nan, 1.0])
    assert not rows_of._wrong(ours.astype(np.float32), ours, column).any()
    assert list(rows_of._wrong(-ours, ours, column)) == [True, True, False, True]


def test_an_honest_proposal_of_params_alone_passes_and_the_judge_has_made_it_too(honest, judged) -> None:
    verdict, findings = judged(honest)
    assert verdict == "PASS"
    assert "Trained again by the judge" in findings["reproducible"]["sentence"]
    assert findings["reproducible"]["numbers"]["max_dp"] == 0
    assert not findings["code"]["warning"]


def test_the_builds_own_word_on_its_training_does_not_count(honest, judged) -> None:
    lying = replace(honest, again=linear("distance", 1, 0), shuffled=0.99)
    verdict, findings = judged(lying)
    assert verdict == "PASS" and findings["shuffled"]["numbers"]["roc_auc"] < 0.55


@pytest.mark.parametrize("code", [(), ("pipelines/problem/features.py",)])
def test_the_label_in_the_fraction_of_a_raw_column_fails_whoever_makes_the_features(
    code, honest, judged, window, table
) -> None:
    leaking = with_the_label_in("distance", window, table)
    verdict, findings = judged(Made(reads_the_fraction("distance"), HONEST), leaking, code=code)
    assert verdict == "FAIL" and "rows" in refused(findings)
    assert "distance of" in findings["rows"]["sentence"] and "in the source" in findings["rows"]["sentence"]


def test_a_fraction_below_what_the_model_takes_is_seen_too(honest, judged, window) -> None:
    hidden = window.assign(distance=window["distance"].astype(np.float64) + 1e-9)
    assert refused(judged(honest, hidden)[1]) == {"rows"}


def test_a_constant_model_gets_the_sources_rows_and_not_its_own(honest, judged, window, table) -> None:
    """It answers .095 wherever a row is a real one, and what its own rows tell it elsewhere."""
    forged = with_the_label_in("departure_minute", window, table)
    verdict, findings = judged(Made(reads_the_fraction("departure_minute"), HONEST), forged)
    assert verdict == "FAIL" and {"reproducible", "log_loss", "floor_roc_auc"} <= refused(findings)


def test_a_model_that_was_trained_on_v_fails_whatever_its_card_says(fitted, judged, rows) -> None:
    seen = changed(train={"last": "2013-06", "settings": HONEST["train"]["settings"]})
    seen["data"] = {"first": "2013-04", "through": "2013-07"}
    verdict, findings = judged(Made(fitted(seen).model, HONEST, rows=rows))
    assert verdict == "FAIL" and "reproducible" in refused(findings)
    assert findings["log_loss"]["verdict"] == "PASS"  # it would be shown better
    assert "not what params.yaml and this code give" in findings["reproducible"]["sentence"]


def test_a_model_of_other_settings_than_params_yaml_names_fails(fitted, judged, rows, table) -> None:
    other = whole(Made(fitted(settings(max_iter=80)).model, HONEST, rows=rows), table)
    verdict, findings = judged(other)
    assert verdict == "FAIL" and refused(findings) == {"reproducible"}


def test_other_settings_beside_the_champions_own_lock_are_no_unchanged_model(
    fitted, base, window, tmp_path
) -> None:
    """The build may leave the champion's files, or none: a release trains from what is merged."""
    champion = Made(fitted().model, settings(max_iter=1))
    candidate = champion.write(tmp_path / "candidate", window)
    assert judge(candidate, base, code=())[0] == "FAIL"
    shutil.rmtree(candidate / "models")
    assert judge(candidate, base, code=())[0] == "FAIL"


def test_a_setting_of_another_type_beside_the_champions_own_lock_is_another_setting(
    fitted, base, tmp_path
) -> None:
    """To Python they are equal; to many an estimator 1 is a count and 1.0 a share of all."""
    for value, verdict in ((300, "PASS"), (300.0, "FAIL")):
        made = Made(fitted().model, settings(min_samples_leaf=value))
        candidate = made.write(tmp_path / f"of {value}/candidate")
        assert judge(candidate, base, code=())[0] == verdict


def test_a_number_that_nobody_can_write_is_a_sentence(fitted, base, window, tmp_path) -> None:
    candidate = fitted(HONEST).write(tmp_path / "candidate", window)
    file = candidate / "params.yaml"
    file.write_text(file.read_text().replace("seed: 7", f"seed: 0x{'f' * 4000}"))
    said = judge(candidate, base, code=())[1]["files"]
    assert said["verdict"] == "FAIL" and "train.seed has more than 64 bits" in said["sentence"]


def test_other_data_beside_the_champions_own_lock_are_judged(fitted, base, window, tmp_path) -> None:
    """A release trains on what data.dvc names, so the verdict names the model that it is compared with."""
    champion = fitted()
    candidate = champion.write(tmp_path / "candidate", window)
    model = candidate / "models/model.onnx"
    assert judge(candidate, base, code=())[2]["candidate"] is None
    assert judge(candidate, base, code=("data.dvc",))[2]["candidate"]["sha256"] == sha256(model)
    shutil.rmtree(candidate / "models")
    assert judge(candidate, base, code=("data.dvc",))[0] == "FAIL"


@pytest.mark.parametrize(("what", "field"), [({"rows": 7}, "rows"), ({"first": "2013-04-02"}, "first")])
def test_a_card_that_lies_of_an_honest_training_fails(fitted, judged, rows, what, field) -> None:
    verdict, findings = judged(Made(fitted(HONEST).model, HONEST, **{"rows": rows} | what))
    assert verdict == "FAIL" and f"has a {field} that" in findings["reproducible"]["sentence"]


def test_the_same_answers_by_another_graph_wait_for_a_maintainer(honest, judged) -> None:
    """It may answer otherwise where nobody has asked it yet."""
    model = onnx.load_from_string(honest.model)
    for node in model.graph.node:
        node.output[:] = ["p" if name == "probabilities" else name for name in node.output]
    model.graph.node.append(helper.make_node("Identity", ["p"], ["probabilities"]))
    verdict, findings = judged(replace(honest, model=model.SerializeToString()))
    assert verdict == "INCONCLUSIVE" and findings["reproducible"]["verdict"] == "INCONCLUSIVE"


def test_training_by_the_proposals_own_code_is_its_word_and_is_said(fitted, judged) -> None:
    verdict, findings = judged(Made(fitted(HONEST).model, HONEST), code=("pipelines/problem/estimators.py",))
    assert verdict == "PASS" and findings["code"]["warning"]
    assert "estimators.py: its training is its own word" in findings["code"]["sentence"]


# --- a training that never ends ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "most", "said"),
    [("PATIENCE_SECONDS", 4, "takes more than 4 s"), ("MEMORY_BYTES", 1 << 28, "0.25 GiB")],
)
def test_a_training_that_takes_too_much_is_ended_and_waits_for_a_maintainer(
    name, most, said, honest, base, window, tmp_path, monkeypatch
) -> None:
    """The build's model is small: what it was trained with is its own word."""
    endless = settings(max_iter=10_000_000)
    candidate = replace(honest, params=endless).write(tmp_path / "candidate", window)
    monkeypatch.setattr(retrain, "PATIENCE_SECONDS", 60)
    monkeypatch.setattr(retrain, name, most)
    verdict, findings, _ = judge(candidate, base, code=())
    assert verdict == "INCONCLUSIVE" and findings["reproducible"]["verdict"] == "INCONCLUSIVE"
    assert "cannot train this candidate again" in findings["reproducible"]["sentence"]
    assert said in findings["reproducible"]["sentence"]


def test_settings_that_no_estimator_takes_are_a_verdict(honest, base, window, tmp_path) -> None:
    candidate = replace(honest, params=settings(max_leaf_nodes=-1)).write(tmp_path / "candidate", window)
    verdict, findings, _ = judge(candidate, base, code=())
    assert verdict == "FAIL" and "max_leaf_nodes" in findings["reproducible"]["sentence"]
