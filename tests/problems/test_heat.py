"""A problem whose answer is a number goes the way of one whose answer is yes or no."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipelines.base.files import read_json
from tests.problems.yours import run


def test_the_pipeline_measures_a_number(heat: Path) -> None:
    card, metrics = read_json(heat / "models/model.json"), read_json(heat / "models/metrics.json")
    assert "air_later" not in card["features"] and "air_change" in card["features"]
    assert metrics["mae"] < 4 < metrics["rmse"] * 2 and metrics["r2"] > 0.8
    assert 60 < metrics["label_rate"] < 80 and metrics["threshold"] is None
    gain, calibration = (pd.read_csv(heat / f"models/plots/{name}.csv") for name in ("gain", "calibration"))
    assert gain["ranks"].is_monotonic_increasing and (gain["ranks"] >= gain["rows"]).all()
    assert calibration["predicted"].corr(calibration["observed"]) > 0.98
    assert "too little is heated" in (heat / "models/card.md").read_text()


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
    heat: Path, tmp_path: Path, section: str, values: dict[str, float], sentence: str
) -> None:
    run(heat, "git", "clone", "--quiet", ".", str(clone := tmp_path / "clone"))
    asked = yaml.safe_load((clone / "params.yaml").read_text()) | {section: values}
    (clone / "params.yaml").write_text(yaml.safe_dump(asked))
    done = run(clone, "ml", "stage", "train", check=False)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("ml: params.yaml: " + sentence)
