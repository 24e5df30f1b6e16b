"""A problem of one row a day, four years and dry summers goes the way of one of a thousand rows a day."""

from pathlib import Path

import pandas as pd
import pytest

from pipelines.base.files import read_json
from tests.problems.yours import ROOM, make_it_yours, run, with_data

TOMORROW = Path(__file__).parent / "tomorrow"
DRY = ("2010-07", "2013-08")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository with the third problem, its data ingested, its pipeline run and committed."""
    return with_data(make_it_yours(tmp_path_factory.mktemp("tomorrow"), TOMORROW), through="2013-12")


def test_each_day_is_a_row_and_a_dry_month_is_none_the_worse(ours: Path) -> None:
    rows = pd.read_parquet(ours / "build/prepared.parquet")
    assert len(rows) == rows["evening"].dt.normalize().nunique() == 1461
    month = rows["evening"].dt.strftime("%Y-%m")
    assert not any(rows["wet"][month == name].any() for name in DRY)
    assert rows["wet"].mean() > 0.1  # the rest is not dry
    assert read_json(ours / "build/validation.json")["success"]
    assert {path.stem for path in (ours / "data").glob("*.parquet")} == set(month)


def test_a_feature_that_looks_back_is_full_on_the_first_of_each_month(ours: Path) -> None:
    rows = pd.read_parquet(ours / "build/prepared.parquet")
    diary = pd.concat([pd.read_parquet(file) for file in sorted((ours / "data").glob("*.parquet"))])
    known = diary.groupby("day")["rain"].first()
    first = rows[rows["evening"].dt.day == 1].iloc[1:]
    for day, three in zip(first["evening"].dt.normalize(), first["rain_of_three_days"], strict=True):
        before = [str((day - pd.Timedelta(days=n)).date()) for n in range(3)]
        assert three == pytest.approx(known[before].sum(), abs=1e-3)


def test_the_model_is_judged_by_the_days_after_its_training(ours: Path) -> None:
    card, metrics = read_json(ours / "models/model.json"), read_json(ours / "models/metrics.json")
    assert card["name"] == "rain-tomorrow" and card["train"]["days"] == card["train"]["rows"] == 1096
    assert "pressure_change" in card["features"] and "rain_to_come" not in card["features"]
    assert metrics["days"] == metrics["rows"] == 364  # what follows the last day nobody knows yet
    assert metrics["roc_auc"] > 0.7 and metrics["brier_skill"] > 0.1
    by_month = pd.read_csv(ours / "models/months.csv").set_index("month")
    assert by_month["roc_auc"][list(DRY)].isna().all() and by_month["log_loss"].notna().all()


def test_the_gate_passes_the_first_model_and_its_report_is_whole(
    ours: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base, out = tmp_path_factory.mktemp("judge") / "base", tmp_path_factory.mktemp("evidence")
    run(ours, "git", "clone", "--quiet", ".", str(base))
    head = run(ours, "git", "rev-parse", "HEAD").stdout.strip()
    run(base, "git", "checkout", "--quiet", "HEAD~1")  # the room and params.yaml, and no model yet
    run(base, "ml", "gate", "--candidate", str(ours), "--base", ".", "--head", head, "--out", str(out))
    gate = read_json(out / "gate.json")
    found = {finding["rule"]: finding["verdict"] for finding in gate["findings"]}
    assert gate["verdict"] == "PASS" and set(found.values()) == {"PASS"}
    assert {"code", "reproducible", "shuffled", "floor_roc_auc"} <= found.keys()
    assert gate["window"]["days"] == 364
    run(base, "ml", "report", str(out))
    report = (out / "report.md").read_text()
    assert "2013-08" in report and "wind\\_from west" in report
    for line in report.splitlines():
        assert line.count("**") % 2 == 0, line


def test_a_test_window_without_rain_is_one_sentence_before_the_long_work(ours: Path, tmp_path: Path) -> None:
    folder = make_it_yours(tmp_path / "dry", TOMORROW)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("2012-12 #", "2013-06 #").replace("2013-12", "2013-08"))
    (folder / "data").symlink_to(ours / "data")
    run(folder, "ml", "stage", "prepare")
    done = run(folder, "ml", "stage", "train", check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "ml: wet is always false in the months after 2013-06 (62 rows), and to judge the model by both "
        "true and false are needed: move train.last, or data.through once newer months are in data/, in "
        "params.yaml"
    )
    assert not (folder / "models/model.onnx").exists()


def test_the_room_is_the_team_s_alone(ours: Path) -> None:
    changed = set(run(ours, "git", "diff", "--name-only", "HEAD~2", "HEAD").stdout.split())
    assert changed <= {"data.dvc", "dvc.lock", "params.yaml", *(f"pipelines/problem/{name}" for name in ROOM)}
    assert run(ours, "git", "status", "--short").stdout == ""
