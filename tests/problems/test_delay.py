"""A problem whose answer is one of three classes goes the way of one whose answer is yes or no."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipelines.base.files import read_json
from pipelines.core import tables
from tests.problems.yours import commit, run


@pytest.fixture
def judged(delay: Path, tmp_path: Path) -> Any:
    """judged(**train): what the gate says of a proposal with these values in params.yaml: train."""
    return partial(judge, delay, tmp_path)


def judge(ours: Path, folder: Path, **train: Any) -> dict[str, Any]:
    """What the gate says of a proposal with these values in params.yaml: train, and its report: in `folder`,
    which is empty.
    """
    clone, base, out = (folder / name for name in ("clone", "base", "out"))
    for made in (clone, base):
        run(ours, "git", "clone", "--quiet", ".", str(made))
    shutil.copytree(ours / "data", base / "data", dirs_exist_ok=True)
    shutil.copytree(ours / "models", base / "models", dirs_exist_ok=True)
    values = yaml.safe_load((clone / "params.yaml").read_text())
    values["train"] |= train
    (clone / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    run(clone, "ml", "reproduce")
    commit(clone, "a proposal")
    head = run(clone, "git", "rev-parse", "HEAD").stdout.strip()
    run(base, "git", "fetch", "--quiet", str(clone), head)
    verb = ("ml", "gate", "--candidate", str(clone), "--base", ".", "--head", head, "--out", str(out))
    done = run(base, *verb, check=False)
    assert done.returncode in (0, 3, 4), done.stderr
    run(base, "ml", "report", str(out))
    return dict(read_json(out / "gate.json")) | {"report": (out / "report.md").read_text()}


def verdicts(gate: dict[str, Any]) -> dict[str, str]:
    """Each rule's."""
    return {finding["rule"]: finding["verdict"] for finding in gate["findings"]}


def test_the_pipeline_measures_three_classes(delay: Path) -> None:
    metrics, serving = (read_json(delay / f"models/{name}.json") for name in ("metrics", "serving"))
    assert metrics["roc_auc"] > 0.6 and metrics["brier_skill"] > 0 and 0 < metrics["log_loss"] < 1
    assert metrics["threshold"] is None and serving["costs"]["very late"] == {"on time": 6.0, "late": 3.0}
    golden, reference = (read_json(delay / f"models/{name}.json") for name in ("golden", "reference"))
    assert {len(p) for p in golden["p"]} == {3} and sum(reference["label_rate"]) == pytest.approx(1)
    roc, calibration = (pd.read_csv(delay / f"models/plots/{name}.csv") for name in ("roc", "calibration"))
    assert roc["true_positive_rate"].is_monotonic_increasing
    assert calibration["predicted"].corr(calibration["observed"]) > 0.95
    card = (delay / "models/card.md").read_text()
    assert "| very late | 6 | 3 | 0 |" in card and "another flight is offered" in card


def test_a_model_that_is_as_good_passes_on_each_rule(judged: Any) -> None:
    gate = judged(settings={"trees": 30})
    assert gate["verdict"] == "PASS", gate["findings"]
    asked = {"roc_auc", "log_loss", "cost", "floor_roc_auc", "floor_brier_skill", "calibration", "slices"}
    assert asked <= verdicts(gate).keys()
    assert gate["calibration"]["candidate"].keys() >= {"slope (late)", "intercept (very late)_interval"}
    shown = gate["explain"]["shap"]["candidate"]["rows"]
    assert {row["label"] for row in shown} <= {"on time", "late", "very late"}
    assert "p(very late)" in gate["report"] and "| intercept (very late) |" in gate["report"]


def test_a_model_that_is_worse_is_refused_for_its_loss(judged: Any) -> None:
    gate = judged(settings={"trees": 2})
    failed = {rule for rule, verdict in verdicts(gate).items() if verdict == "FAIL"}
    assert gate["verdict"] == "FAIL" and {"log_loss"} <= failed
    assert "Log-loss" in gate["report"]


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        ({"false_alarm": 1.0, "miss": 3.0}, "decision.false_alarm is of other answers: "),
        ({"costs": {"late": {"on time": 1.0}}}, "decision.costs.on time does not say what it costs to say "),
        ({"costs": {"late": {"on time": "much"}}}, "decision.costs.late.on time is 'much', but "),
    ],
)
def test_costs_of_another_kind_of_answer_are_one_sentence(
    delay: Path, tmp_path: Path, costs: dict[str, Any], sentence: str
) -> None:
    run(delay, "git", "clone", "--quiet", ".", str(clone := tmp_path / "clone"))
    asked = yaml.safe_load((clone / "params.yaml").read_text()) | {"decision": costs}
    (clone / "params.yaml").write_text(yaml.safe_dump(asked))
    done = run(clone, "ml", "stage", "train", check=False)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("ml: params.yaml: " + sentence)


def test_a_label_that_is_no_class_is_refused_at_validation(delay: Path, tmp_path: Path) -> None:
    run(delay, "git", "clone", "--quiet", ".", str(clone := tmp_path / "clone"))
    (clone / "data").mkdir(exist_ok=True)
    for month in (delay / "data").glob("*.parquet"):
        table = tables.read(month)
        if month.stem == "2013-06":
            table.loc[:4, "lateness"] = "lost"
        tables.write(clone / "data" / month.name, table)
    done = run(clone, "ml", "stage", "validate", check=False)
    said = done.stderr.splitlines()[-1]
    assert (
        done.returncode != 0 and "2013-06.parquet: expected lateness to be one of" in said and "lost" in said
    )
