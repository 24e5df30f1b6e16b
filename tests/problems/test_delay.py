"""A problem whose answer is one of three classes goes the way of one whose answer is yes or no."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipelines.base.files import read_json
from pipelines.core import tables
from tests.problems.yours import run


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
    pairs = pd.read_csv(delay / "models/plots/confusion.csv")
    assert len(pairs) == metrics["rows"]
    counts = pd.crosstab(pairs["came_true"], pairs["decided"]).loc[
        "very late", ["on time", "late", "very late"]
    ]
    right = f"{counts.iloc[2] / counts.sum():.0%}"
    assert f"| very late | {' | '.join(f'{n:,}' for n in counts)} | {right} |" in card


def test_dvc_draws_the_confusion_matrix_of_classes(delay: Path, tmp_path: Path) -> None:
    done = run(delay, "dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    drawn = (tmp_path / "plots/index.html").read_text()
    assert all(f'"title": "{axis}"' in drawn for axis in ("came_true", "decided", "true_positive_rate"))
    assert '"title": "ranks"' not in drawn and done.returncode == 0


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        ({"false_alarm": 1.0, "miss": 3.0}, "decision.false_alarm is of other answers: "),
        (
            {"costs": {"late": {"on time": 1.0}}},
            "decision.costs.on time does not say what saying 'late' costs: ",
        ),
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
