"""A problem whose answer is a number goes the way of one whose answer is yes or no."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipelines.base.files import read_json
from tests.problems.yours import run


def test_the_pipeline_measures_a_number(heat: Path) -> None:
    about, metrics = read_json(heat / "models/model.json"), read_json(heat / "models/metrics.json")
    assert "air_later" not in about["features"] and "air_change" in about["features"]
    assert metrics["mae"] < 4 < metrics["rmse"] * 2 and metrics["r2"] > 0.8
    assert 60 < metrics["label_rate"] < 80 and metrics["threshold"] is None
    gain, calibration = (pd.read_csv(heat / f"models/plots/{name}.csv") for name in ("gain", "calibration"))
    assert gain["ranks"].is_monotonic_increasing and (gain["ranks"] >= gain["rows"]).all()
    assert calibration["predicted"].corr(calibration["observed"]) > 0.98
    card = (heat / "models/card.md").read_text()
    assert "too little is heated" in card
    past, served = (read_json(heat / f"models/{name}.json") for name in ("reference", "serving"))
    assert served["interval"] == past["interval"] and past["interval"]["days"] == 31  # May, by all before it
    half_width = past["interval"]["half_width"]
    assert metrics["mae"] < half_width < 15 and f"within {half_width:.4g} °F of it" in card


def test_dvc_draws_the_plots_of_a_number(heat: Path, tmp_path: Path) -> None:
    done = run(heat, "dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    drawn = (tmp_path / "plots/index.html").read_text()
    assert all(f'"title": "{axis}"' in drawn for axis in ("ranks", "rows", "observed", "predicted"))
    assert "true_positive_rate" not in drawn and done.returncode == 0


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
