"""A problem whose answer is a number goes the way of one whose answer is yes or no."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipelines.base.files import read_json
from tests.problems.yours import commit, make_it_yours, run, with_data

HEAT = Path(__file__).parent / "heat"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository with that problem, its data ingested, its pipeline run and committed."""
    return with_data(make_it_yours(tmp_path_factory.mktemp("heat"), HEAT), through="2013-06")


@pytest.fixture
def judged(ours: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    """judged(**train): what the gate says of a proposal with these values in params.yaml: train."""

    def judge(**train: Any) -> dict[str, Any]:
        clone, base, out = (tmp_path / name for name in ("clone", "base", "out"))
        for made in (clone, base):
            run(ours, "git", "clone", "--quiet", ".", str(made))
        shutil.copytree(ours / "data", base / "data", dirs_exist_ok=True)
        shutil.copytree(ours / "models", base / "models", dirs_exist_ok=True)
        values = yaml.safe_load((clone / "params.yaml").read_text())
        values["train"] |= train
        (clone / "params.yaml").write_text(yaml.safe_dump(values))
        run(clone, "ml", "reproduce")
        commit(clone, "a proposal")
        head = run(clone, "git", "rev-parse", "HEAD").stdout.strip()
        run(base, "git", "fetch", "--quiet", str(clone), head)
        judge = ("ml", "gate", "--candidate", str(clone), "--base", ".", "--head", head, "--out", str(out))
        done = run(base, *judge, check=False)
        assert done.returncode in (0, 3, 4), done.stderr
        run(base, "ml", "report", str(out))
        return dict(read_json(out / "gate.json")) | {"report": (out / "report.md").read_text()}

    return judge


def verdicts(gate: dict[str, Any]) -> dict[str, str]:
    return {finding["rule"]: finding["verdict"] for finding in gate["findings"]}


def test_the_pipeline_measures_a_number(ours: Path) -> None:
    card, metrics = read_json(ours / "models/model.json"), read_json(ours / "models/metrics.json")
    assert "air_later" not in card["features"] and "air_change" in card["features"]
    assert metrics["mae"] < 4 < metrics["rmse"] * 2 and metrics["r2"] > 0.8
    assert 60 < metrics["label_rate"] < 80 and metrics["threshold"] is None
    gain, calibration = (pd.read_csv(ours / f"models/plots/{name}.csv") for name in ("gain", "calibration"))
    assert gain["ranks"].is_monotonic_increasing and (gain["ranks"] >= gain["rows"]).all()
    assert calibration["predicted"].corr(calibration["observed"]) > 0.98
    assert "too little is heated" in (ours / "models/card.md").read_text()


def test_a_model_that_is_as_good_passes_on_each_rule(judged: Any) -> None:
    gate = judged(settings={"trees": 64, "leaf": 100})
    found = verdicts(gate)
    assert gate["verdict"] == "PASS", gate["findings"]
    assert {"mae", "rmse", "cost", "floor_r2", "calibration", "slices"} <= found.keys()


def test_a_model_that_is_worse_is_refused_for_its_errors(judged: Any) -> None:
    gate = judged(settings={"trees": 5, "leaf": 400})
    assert gate["verdict"] == "FAIL"
    assert {"mae", "rmse"} <= {rule for rule, verdict in verdicts(gate).items() if verdict == "FAIL"}
    assert "Mean absolute error" in gate["report"] and "by over 1.4 °F" in gate["report"]


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        (
            "decision",
            {"false_alarm": 1.0, "miss": 3.0},
            "decision.false_alarm is of other answers: ",
        ),
        ("decision", {"over": 1.0}, "decision.under is missing: this label asks for over, under"),
    ],
)
def test_costs_of_another_kind_of_answer_are_one_sentence(
    ours: Path, tmp_path: Path, section: str, values: dict[str, float], sentence: str
) -> None:
    run(ours, "git", "clone", "--quiet", ".", str(clone := tmp_path / "clone"))
    asked = yaml.safe_load((clone / "params.yaml").read_text()) | {section: values}
    (clone / "params.yaml").write_text(yaml.safe_dump(asked))
    done = run(clone, "ml", "stage", "train", check=False)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("ml: params.yaml: " + sentence)
