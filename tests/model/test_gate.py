"""The gate on real, small models: each proposal gets its verdict for its own reason."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml

from pipelines.artifacts.verdict import Verdict
from pipelines.base.errors import UserError
from pipelines.core import params as parameters
from pipelines.core.model import Model
from pipelines.core.tasks.binary import BINARY
from pipelines.judge import beside, gate
from pipelines.training import evaluate
from pipelines.training.table import inputs
from tests.model.proposals import (
    LABEL,
    PARAMS,
    Made,
    changed,
    commit,
    cut,
    git,
    judge,
    linear,
    not_a_number,
    refused,
    settings,
)
from tests.problems.parcels import PROBLEM
from tests.problems.parcels.columns import CONTRACT

# --- the three proposals ----------------------------------------------------------------------------------


def test_a_better_model_passes_and_is_called_better(fitted, base, window, tmp_path) -> None:
    better = fitted(settings(max_leaf_nodes=20))
    weak = fitted(settings(learning_rate=0.005))
    verdict, findings, written = judge(
        better.write(tmp_path / "candidate", window), commit(weak.write(tmp_path / "weak"))
    )
    assert verdict == "PASS"
    assert "shown better" in findings["log_loss"]["sentence"]
    assert {change["key"] for change in written["params"]} == {
        "train.settings.learning_rate",
        "train.settings.max_leaf_nodes",
    }
    assert written["window"]["days"] == 30 and written["window"]["first"] == "2013-06-01"
    assert "base branch" in written["champion"]["origin"]


def test_what_a_rollout_will_ask_is_written_down_how_the_answers_on_v_differ_and_from_whose(
    fitted, base, table, window, tmp_path
) -> None:
    new, old = fitted(settings(max_leaf_nodes=20)), fitted()
    _, _, written = judge(new.write(tmp_path / "candidate", window), base)
    assert written["dp"]["champion"] == hashlib.sha256(old.model).hexdigest()
    labelled = table[LABEL].notna() & (table[CONTRACT.time.name] >= "2013-06-01")
    features = inputs(table[labelled & (table[CONTRACT.time.name] < "2013-07-01")], CONTRACT)
    for name, made in (("new", new), ("old", old)):
        (tmp_path / name).write_bytes(made.model)
    dp = Model(tmp_path / "new", BINARY).predict(features) - Model(tmp_path / "old", BINARY).predict(features)
    quantiles = written["dp"]["quantiles"]
    assert len(quantiles) == 101 and quantiles[0] < quantiles[50] < quantiles[100]
    assert (quantiles[0], quantiles[100]) == pytest.approx((dp.min(), dp.max()), abs=1e-9)


def test_an_undertrained_model_fails_on_log_loss_far_beyond_the_margin(
    fitted, base, window, tmp_path
) -> None:
    bad = fitted(settings(max_iter=3))
    verdict, findings, _ = judge(bad.write(tmp_path / "candidate", window), base)
    assert verdict == "FAIL"
    assert "log_loss" in refused(findings)
    assert findings["log_loss"]["numbers"]["low"] > 4 * PARAMS["gate"]["margin"]["log_loss"]


def test_the_champions_own_bytes_pass_as_no_change(fitted, base, window, tmp_path) -> None:
    verdict, findings, _ = judge(fitted().write(tmp_path / "candidate", window), base)
    assert verdict == "PASS" and set(findings) == {"unchanged"}


def test_a_build_that_left_nothing_but_the_bases_lock_changes_no_model(fitted, base, tmp_path) -> None:
    candidate = fitted().write(tmp_path / "candidate")
    shutil.rmtree(candidate / "models")
    assert judge(candidate, base)[0] == "PASS"


def test_other_bytes_with_the_same_answers_pass_as_equal(fitted, base, window, tmp_path) -> None:
    model = onnx.load_from_string(fitted().model)
    model.doc_string = "the same model in other words"
    verdict, findings, _ = judge(Made(model.SerializeToString()).write(tmp_path / "candidate", window), base)
    assert verdict == "PASS" and "equal" in findings and "log_loss" not in findings


def test_the_first_model_passes_on_the_floors_alone(fitted, window, tmp_path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/params.yaml").write_text(yaml.safe_dump(PARAMS))
    verdict, findings, written = judge(
        fitted().write(tmp_path / "candidate", window), commit(tmp_path / "base")
    )
    assert verdict == "PASS" and written["champion"] is None
    assert {"floor_roc_auc", "floor_brier_skill"} < set(findings) and "roc_auc" not in findings


def test_the_files_that_a_proposal_changes_are_named_where_its_commit_is_known(
    fitted, base, window, tmp_path
) -> None:
    (base / "features.py").write_text("new")
    git(base, "add", ".")
    git(base, "commit", "--quiet", "-m", "proposal")
    head = git(base, "rev-parse", "HEAD")
    git(base, "reset", "--quiet", "--hard", "HEAD~")
    candidate = fitted(settings(max_iter=3)).write(tmp_path / "candidate", window)
    for commit_of, files in ((head, ["features.py"]), ("0" * 40, None)):
        gate.run(candidate, base, PROBLEM, tmp_path / "evidence", head=commit_of)
        written = Verdict.read(tmp_path / "evidence")
        assert (written.head, written.code) == (commit_of, files)
        assert written.base == git(base, "rev-parse", "HEAD")
    with pytest.raises(UserError, match=r"--head is '--output=x', which names no commit"):
        gate.run(candidate, base, PROBLEM, tmp_path / "evidence", head="--output=x")


def test_the_base_says_what_is_drawn(fitted, base, window, tmp_path) -> None:
    """A window of 30 days has five weeks, of which nobody can say how others would be."""
    gate_of = PARAMS["gate"] | {"unit": "week"}
    (base / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"gate": gate_of}))
    candidate = fitted(settings(max_iter=3)).write(tmp_path / "candidate", window)
    _, findings, written = judge(candidate, commit(base))
    assert (
        findings["days"]["verdict"] == "INCONCLUSIVE" and "of 5 weeks alone" in findings["days"]["sentence"]
    )
    assert written["thresholds"]["unit"] == "week"


# --- each rule refuses for its own reason -----------------------------------------------------------------


def test_a_first_model_below_the_floors_fails(window, tmp_path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/params.yaml").write_text(yaml.safe_dump(PARAMS))
    backwards = Made(linear("departure_minute", -0.002, 1.0))
    verdict, findings, _ = judge(backwards.write(tmp_path / "candidate", window), commit(tmp_path / "base"))
    assert verdict == "FAIL" and refused(findings) == {"floor_roc_auc", "floor_brier_skill", "calibration"}


def test_answers_that_are_no_numbers_fail(base, window, tmp_path) -> None:
    verdict, findings, _ = judge(Made(not_a_number()).write(tmp_path / "candidate", window), base)
    assert verdict == "FAIL" and refused(findings) == {"rows"}
    assert "NaN" in findings["rows"]["sentence"]


def test_an_input_that_is_known_only_afterwards_fails(base, table, window, tmp_path) -> None:
    leaking = Made(linear("arrival_delay", 0.1, -1.5))
    leak = window.assign(arrival_delay=np.arange(len(window), dtype=np.float32) % 60)
    verdict, findings, _ = judge(leaking.write(tmp_path / "candidate", leak), base)
    assert verdict == "FAIL" and "inputs" in refused(findings)
    assert "arrival_delay" in findings["inputs"]["sentence"]


def test_a_model_that_has_trained_on_days_of_v_fails(fitted, base, window, tmp_path) -> None:
    cheat = Made(fitted(settings(max_iter=50)).model, last="2013-06-20")
    verdict, findings, _ = judge(cheat.write(tmp_path / "candidate", window), base)
    assert verdict == "FAIL" and refused(findings) == {"leakage"}
    assert findings["leakage"]["numbers"]["days"] == 20


def test_a_lock_that_names_another_model_fails(fitted, base, window, tmp_path) -> None:
    other = Made(fitted(settings(max_iter=50)).model, lock="0" * 32)
    verdict, findings, _ = judge(other.write(tmp_path / "candidate", window), base)
    assert verdict == "FAIL" and refused(findings) == {"lock"}


def test_a_labelled_row_that_the_proposal_left_out_fails(fitted, base, window, table, tmp_path) -> None:
    labelled = table[LABEL].notna() & (table[CONTRACT.time.name] >= "2013-06-01")
    key = table[CONTRACT.key.name][labelled].iloc[7]
    fewer = window[window[CONTRACT.key.name] != key]
    made = fitted(settings(max_iter=50))
    verdict, findings, _ = judge(made.write(tmp_path / "candidate", fewer), base)
    assert verdict == "FAIL" and refused(findings) == {"rows"}
    assert key in findings["rows"]["sentence"]


def test_a_row_without_a_label_may_be_left_out(fitted, base, window, table, tmp_path) -> None:
    unlabelled = table[CONTRACT.key.name][table[LABEL].isna()]
    fewer = window[~window[CONTRACT.key.name].isin(unlabelled)]
    assert len(fewer) < len(window)
    made = fitted(settings(max_leaf_nodes=31, max_iter=100))
    _, findings, _ = judge(made.write(tmp_path / "candidate", fewer), base)
    assert "rows" not in findings and "log_loss" in findings


def test_a_row_that_stands_twice_fails(fitted, base, window, tmp_path) -> None:
    twice = pd.concat([window, window.iloc[:1]])
    verdict, findings, _ = judge(fitted(settings(max_iter=50)).write(tmp_path / "candidate", twice), base)
    assert verdict == "FAIL" and "is in two rows" in findings["files"]["sentence"]


def test_an_input_that_the_window_lacks_fails(fitted, base, window, tmp_path) -> None:
    made = fitted(settings(max_iter=50)).write(tmp_path / "candidate", window.drop(columns="distance"))
    verdict, findings, _ = judge(made, base)
    assert verdict == "FAIL" and "'distance'" in findings["rows"]["sentence"]


def test_a_text_where_the_model_takes_numbers_fails(fitted, base, window, tmp_path) -> None:
    made = fitted(settings(max_iter=50)).write(tmp_path / "candidate", window.assign(distance="far"))
    verdict, findings, _ = judge(made, base)
    assert verdict == "FAIL" and refused(findings) == {"rows"}


# --- no data never passes ---------------------------------------------------------------------------------


def test_an_empty_window_is_inconclusive(fitted, window, tmp_path) -> None:
    """The champion has trained through June, and the proposal brings no later month."""
    base = commit(Made(fitted().model, last="2013-06-30").write(tmp_path / "base"))
    verdict, findings, _ = judge(fitted(settings(max_iter=50)).write(tmp_path / "candidate", window), base)
    assert verdict == "INCONCLUSIVE" and findings["days"]["numbers"]["days"] == 0


def test_a_window_of_too_few_days_is_inconclusive(fitted, window, tmp_path) -> None:
    base = commit(
        Made(fitted(settings(max_iter=50)).model, changed(gate={"days": 31})).write(tmp_path / "base")
    )
    verdict, findings, _ = judge(fitted().write(tmp_path / "candidate", window), base)
    assert verdict == "INCONCLUSIVE"
    assert {rule for rule, f in findings.items() if f["verdict"] != "PASS"} == {"days"}


def test_v_begins_after_both_trainings(fitted, base, table, tmp_path) -> None:
    july = table[table[CONTRACT.time.name] >= "2013-07-01"].drop(columns=LABEL)
    values = changed(data={"through": "2013-07"}, train={"last": "2013-06"})
    later = Made(fitted(values).model, values, last="2013-06-30")
    _, _, written = judge(later.write(tmp_path / "candidate", july), base)
    assert (written["window"]["first"], written["window"]["last"]) == ("2013-07-01", "2013-07-31")
    assert written["data"] == {"base": ["2013-04", "2013-06"], "proposal": ["2013-04", "2013-07"]}


def test_the_bases_thresholds_count_and_not_the_proposals(fitted, base, window, tmp_path) -> None:
    generous = {
        "days": 7,
        "margin": {"roc_auc": 0.9, "log_loss": 9.0},
        "floor": {"roc_auc": 0.1, "brier_skill": -9.0},
    }
    values = settings(max_iter=3) | {"gate": PARAMS["gate"] | generous}
    bad = Made(fitted(settings(max_iter=3)).model, values)
    verdict, findings, written = judge(bad.write(tmp_path / "candidate", window), base)
    assert verdict == "FAIL" and "log_loss" in refused(findings)
    assert written["thresholds"]["margin"]["log_loss"] == PARAMS["gate"]["margin"]["log_loss"]


# --- hostile files ----------------------------------------------------------------------------------------

FILES = ("params.yaml", "dvc.lock", "models/model.json", "models/model.onnx", "models/window.parquet")


def halve(path: Path) -> None:
    cut(path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(5000))


def remove(path: Path) -> None:
    path.unlink()


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


def number(path: Path) -> None:
    path.write_text("7")


@pytest.mark.parametrize("spoil", [halve, empty, noise, remove, to_folder, to_link, nested, number])
@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_of_the_proposal_is_a_verdict_and_never_a_traceback(
    name, spoil, fitted, base, window, tmp_path
) -> None:
    candidate = fitted(settings(max_iter=50)).write(tmp_path / "candidate", window.iloc[:100])
    spoil(candidate / name)
    verdict, findings, _ = judge(candidate, base)
    assert verdict == "FAIL" and refused(findings) == {"files"}
    assert str(tmp_path) not in findings["files"]["sentence"]


HOSTILE_PARAMS = {
    "a month that the source does not have": changed(data={"through": "2099-01"}),
    "an unknown key": PARAMS | {"extra": 1},
    "training beyond the data": changed(train={"last": "2013-06"}),
}


@pytest.mark.parametrize("name", HOSTILE_PARAMS)
def test_params_that_make_no_sense_are_a_verdict(name, fitted, base, window, tmp_path) -> None:
    made = Made(fitted(settings(max_iter=50)).model, HOSTILE_PARAMS[name])
    verdict, findings, _ = judge(made.write(tmp_path / "candidate", window.iloc[:100]), base)
    assert verdict == "FAIL" and "params.yaml" in findings["files"]["sentence"]


@pytest.mark.parametrize("value", ["10000-01-01", "2013-02-30", "2013-1-1", 7, None, "\ud800"])
def test_a_card_without_real_days_is_a_verdict(value, fitted, base, window, tmp_path) -> None:
    made = Made(fitted(settings(max_iter=50)).model, last=value)
    verdict, findings, _ = judge(made.write(tmp_path / "candidate", window.iloc[:100]), base)
    assert verdict == "FAIL" and "model.json" in findings["files"]["sentence"]


def test_settings_that_json_cannot_hold_are_written_as_text(fitted, base, window, tmp_path) -> None:
    values = settings(max_iter=50, **{"\ud800": "\ud800"})
    candidate = Made(fitted(settings(max_iter=3)).model, settings(max_iter=3)).write(
        tmp_path / "candidate", window
    )
    text = yaml.safe_dump(values, allow_unicode=False)
    (candidate / "params.yaml").write_text(text)
    verdict, _, written = judge(candidate, base)
    assert verdict == "FAIL" and len(written["params"]) >= 2
    (candidate / "params.yaml").write_text(yaml.safe_dump(settings(big=10**400)))
    verdict, findings, _ = judge(candidate, base)
    assert verdict == "FAIL" and "settings.big has more than 64 bits" in findings["files"]["sentence"]


def test_a_proposal_whose_window_is_the_pipelines_own_can_be_scored(fitted, base, table, tmp_path) -> None:
    """What evaluate writes is what the gate reads."""
    values = parameters.parse(settings(max_iter=3))
    rows = table[table[CONTRACT.time.name] < "2013-07-01"]
    rows.to_parquet(tmp_path / "prepared.parquet", index=False)
    made = fitted(settings(max_iter=3))
    candidate = made.write(tmp_path / "candidate")
    beside.of_the_past(values, rows, PROBLEM).write(candidate / "models")
    evaluate.run(values, PROBLEM, tmp_path / "prepared.parquet", candidate / "models")
    _, _, written = judge(candidate, base)
    metrics = json.loads((candidate / "models/metrics.json").read_text())
    gates = {metric["name"]: metric["candidate"][0] for metric in written["metrics"]}
    assert gates["ROC-AUC"] == pytest.approx(metrics["roc_auc"], abs=1e-12)
    assert gates["log-loss"] == pytest.approx(metrics["log_loss"], abs=1e-12)
    assert gates["Brier skill"] == pytest.approx(metrics["brier_skill"], abs=1e-12)
