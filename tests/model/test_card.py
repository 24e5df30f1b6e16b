"""The card says of a model what its files say, in the same bytes each time."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import sha256
from pipelines.core import tables
from pipelines.core.params import Params
from pipelines.judge import evidence
from pipelines.report import card
from pipelines.training import table
from tests.problems.parcels import PROBLEM
from tests.problems.parcels.columns import CONTRACT


@pytest.fixture(scope="module")
def checkout(small_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("card")
    shutil.copytree(small_built / "build", here / "build")
    shutil.copytree(small_built / "models", here / "models")
    (here / "requirements").mkdir()
    (here / card.LOCK).write_text("a==1\n")
    (here / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef.dir\n  path: data\n")
    return here


@pytest.fixture(scope="module")
def text(checkout: Path, small_params: Params) -> str:
    return card.run(small_params, PROBLEM, checkout).read_text()


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def test_the_card_names_every_feature_and_every_forbidden_column(text: str) -> None:
    features, forbidden = section(text, "Features"), section(text, "Forbidden columns")
    for column in CONTRACT.features:
        (line,) = [line for line in features.splitlines() if line.startswith(f"| `{column.name}` |")]
        assert column.unit in line and f"| {column.known_at:g} |" in line
        assert f"`{column.name}`" not in forbidden
    for column in CONTRACT.forbidden:
        assert f"| `{column.name}` |" in forbidden and f"`{column.name}`" not in features
    assert CONTRACT.forbidden and CONTRACT.label.name in forbidden


def test_the_card_says_what_the_model_is_for_and_what_mistakes_cost(text: str, small_params: Params) -> None:
    purpose, decision = section(text, "Purpose"), CONTRACT.decision
    for words in (CONTRACT.event, decision.positive, decision.act, decision.false_alarm, decision.miss):
        assert words in purpose
    assert (
        f"**{small_params.decision.threshold:.3g}**" in purpose
        and f"{small_params.decision.miss:g} for a miss" in purpose
    )


def test_rows_without_a_label_are_counted(text: str, checkout: Path, small_params: Params) -> None:
    rows = table.load(checkout / table.PREPARED)
    without = rows[CONTRACT.label.name].isna()
    month = rows[CONTRACT.time.name].dt.strftime("%Y-%m")
    data = section(text, "Data")
    later = int((without & (month > small_params.train.last)).sum())
    assert later and f"| {later:,} (" in data and f"| {int(without.sum()) - later:,} (" in data


def test_the_figures_are_those_of_evaluate_and_lie_in_their_intervals(text: str, checkout: Path) -> None:
    months = section(text, "Metrics by month")
    said = pd.read_csv(checkout / "models/months.csv")
    for line in said.itertuples():
        (row,) = [found for found in months.splitlines() if found.startswith(f"| {line.month} |")]
        cells = [cell.strip() for cell in row.split("|")][1:-1]
        assert cells[1] == ("trained" if line.trained else "") and cells[2] == f"{line.rows:,}"
        for cell, value in zip(cells[5:], (line.roc_auc, line.log_loss, line.brier_skill), strict=True):
            point, low, high = (float(number) for number in re.findall(r"-?\d\.\d+", cell))
            assert point == pytest.approx(value, abs=6e-4) and low < point < high


def test_the_days_are_drawn_as_the_gate_draws_them(text: str, checkout: Path, small_params: Params) -> None:
    assert card.SEED == evidence.SEED
    gate = small_params.gate.model_copy(update={"unit": "week"})
    weeks = card.run(small_params.model_copy(update={"gate": gate}), PROBLEM, checkout).read_text()
    assert "bootstrap of the days, in blocks." in text and "bootstrap of the weeks." in weeks
    assert section(text, "Metrics by month") != section(weeks, "Metrics by month")


def test_slices_too_small_to_judge_are_counted_and_not_shown(text: str, small_params: Params) -> None:
    slices = section(text, "Slices")
    shown = [int(n.replace(",", "")) for n in re.findall(r"^\| \w+ \S+ \| ([\d,]+) \|", slices, re.MULTILINE)]
    assert shown and min(shown) >= small_params.gate.slice.rows
    assert re.search(r"not shown: [1-9]", slices)


def test_the_same_inputs_give_the_same_bytes_and_no_time_or_commit(
    text: str, checkout: Path, small_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert card.run(small_params, PROBLEM, checkout).read_text() == text
    assert not re.search(r"\b[0-9a-f]{40}\b", text) and "20:" not in text
    lineage = section(text, "Lineage")
    for fact in (
        "0123456789abcdef.dir",
        sha256(checkout / card.LOCK),
        sha256(checkout / "models/model.onnx"),
    ):
        assert fact in lineage
    assert f"seed: {small_params.train.seed}" in lineage


def test_another_model_has_another_card(
    text: str, checkout: Path, small_params: Params, tmp_path: Path
) -> None:
    shutil.copytree(checkout, tmp_path / "other")
    rows = table.load(checkout / table.PREPARED)
    label = rows[CONTRACT.label.name]
    tables.write(
        tmp_path / "other" / table.PREPARED,
        rows.assign(**{CONTRACT.label.name: label.sample(frac=1, random_state=1).to_numpy()}),
    )
    other = card.run(small_params, PROBLEM, tmp_path / "other").read_text()
    assert section(other, "Metrics by month") != section(text, "Metrics by month")
    assert section(other, "Features") == section(text, "Features")


RATES: dict[str, Any] = {
    "28": {
        "equal": {
            "n": 640,
            "pass": {"rate": 0.871, "interval": [0.82, 0.91]},
            "fail": {"rate": 0.03, "interval": [0.01, 0.05]},
        }
    }
}


def test_the_gates_error_rates_are_quoted_where_they_were_measured(
    checkout: Path, small_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "RATES", tmp_path / "rates.json")
    assert "Not measured yet" in section(
        card.run(small_params, PROBLEM, checkout).read_text(), "How it is judged"
    )
    (tmp_path / "rates.json").write_text(json.dumps({"problem": CONTRACT.name, "rates": RATES}))
    judged = section(card.run(small_params, PROBLEM, checkout).read_text(), "How it is judged")
    assert "| 28 | equal | 640 | 87% [82%, 91%] | 3% [1%, 5%] |" in judged and "Not measured" not in judged
    assert "| `margin.log_loss` | 0.005 |" in judged


def test_rates_of_another_problem_are_not_this_ones(
    checkout: Path, small_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "RATES", tmp_path / "rates.json")
    (tmp_path / "rates.json").write_text(json.dumps({"problem": "another", "rates": RATES}))
    assert "Not measured yet" in card.run(small_params, PROBLEM, checkout).read_text()


def test_a_release_completes_the_lineage_and_nothing_else(text: str) -> None:
    done = card.complete(text, {"commit": "c" * 40, "MLflow": "x version 3"})
    assert done.startswith(text.rstrip())
    assert done.splitlines()[-2:] == [f"| commit | `{'c' * 40}` |", "| MLflow | `x version 3` |"]
    with pytest.raises(UserError, match=r"models/card\.md has no lineage"):
        card.complete("# A card by hand", {"commit": "c"})


def test_data_that_dvc_does_not_know_are_an_error(
    checkout: Path, small_params: Params, tmp_path: Path
) -> None:
    shutil.copytree(checkout, tmp_path / "other")
    (tmp_path / "other/data.dvc").write_text("outs: []\n")
    with pytest.raises(UserError, match=r"data\.dvc"):
        card.run(small_params, PROBLEM, tmp_path / "other")
