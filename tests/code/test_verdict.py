"""gate.json is a closed file: whatever the gate did not write so is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.verdict import Verdict
from pipelines.base.errors import UserError
from pipelines.core.tasks.binary import BINARY
from pipelines.report import report
from tests.code.test_report import HOSTILE, gate
from tests.problems.parcels import CONTRACT
from tests.verdicts import verdict

FOUND = {"rule": "r", "verdict": "PASS", "sentence": "s"}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    for given in (verdict(), verdict("FAIL"), gate("FAIL", HOSTILE), gate("PASS")):
        made = Verdict.model_validate(given)
        made.write(tmp_path)
        assert Verdict.read(tmp_path) == made


BAD: dict[str, Any] = {
    "no JSON": "{",
    "deep JSON": "[" * 100_000,
    "no number": json.dumps(verdict(superior=float("nan"))),
    "a list": [],
    "no version": {name: value for name, value in verdict().items() if name != "version"},
    "another version": verdict(version=2),
    "an unknown field": verdict(more=1),
    "a verdict that is none": verdict("SUCCESS"),
    "a verdict of another type": verdict(verdict=["PASS"]),
    "PASS over a finding that fails": verdict("FAIL", verdict="PASS"),
    "FAIL without its finding": verdict(verdict="FAIL"),
    "no finding": verdict(findings=[]),
    "a failed model that is superior": verdict("FAIL", superior=True),
    "a sentence that is none": verdict(findings=[FOUND | {"sentence": 3}]),
    "a sentence that is too long": verdict(findings=[FOUND | {"sentence": "x" * 601}]),
    "a head that is no commit": verdict(head="main"),
    "a head of two lines": verdict(head="1" * 40 + "\n"),
    "a base that is missing": {name: value for name, value in verdict().items() if name != "base"},
    "too large": verdict() | {"more": "x" * Verdict.LARGEST},
}


@pytest.mark.parametrize("given", BAD.values(), ids=BAD)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, given: Any) -> None:
    (tmp_path / "gate.json").write_text(given if isinstance(given, str) else json.dumps(given))
    with pytest.raises(UserError) as refused:
        Verdict.read(tmp_path)
    sentence = str(refused.value)
    assert "gate.json" in sentence and sentence.isprintable() and len(sentence) < 500


def test_another_metric_that_a_task_compares_by_is_a_number_beside_the_two(tmp_path: Path) -> None:
    given = json.loads(json.dumps(gate("PASS")))
    losses = given["months"][0]["candidate"]
    losses["gap"] = 0.1
    Verdict.model_validate(given).write(tmp_path)
    assert Verdict.read(tmp_path).value["months"][0]["candidate"] == losses
    losses["gap"] = "0.1"
    (tmp_path / "gate.json").write_text(json.dumps(given))
    with pytest.raises(UserError, match=r"months\.0\.candidate\.gap: "):
        Verdict.read(tmp_path)


def test_a_link_and_a_missing_file_are_one_sentence_each(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Verdict.read(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "real/gate.json").write_text(json.dumps(verdict()))
    assert Verdict.read(tmp_path / "real").verdict == "PASS"
    (tmp_path / "gate.json").symlink_to(tmp_path / "real/gate.json")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    for folder in (tmp_path, tmp_path / "folder"):
        with pytest.raises(UserError, match="is a link"):
            Verdict.read(folder)


def test_the_reason_is_the_first_finding_with_the_verdict() -> None:
    assert Verdict.model_validate(verdict("FAIL")).reason == "log-loss is worse by 0.02"
    assert Verdict.model_validate(verdict()).reason == "all 1 rules hold"


OTHER: dict[str, Callable[[dict[str, Any]], object]] = {
    "a slice without a metric": lambda given: given["slices"][0]["candidate"].pop("log_loss"),
    "a month with one more": lambda given: given["months"][0]["candidate"].update(gap=0.1),
    "a calibration without a figure": lambda given: given["calibration"]["candidate"].pop("slope"),
    "a figure that is an interval": lambda given: given["calibration"]["candidate"].update(slope=[0.9, 1.1]),
    "an unknown figure": lambda given: given["calibration"]["candidate"].update(more=1.0),
    "a curve of one axis": lambda given: given["roc"]["candidate"].popitem(),
    "axes of other lengths": lambda given: next(iter(given["roc"]["candidate"].values())).pop(),
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_figures_of_no_task_are_one_sentence_where_the_task_is_known(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    given = json.loads(Verdict.model_validate(gate("PASS")).model_dump_json(by_alias=True))
    assert Verdict.model_validate(given).of(BINARY)
    change(given)
    (tmp_path / "gate.json").write_text(json.dumps(given))
    with pytest.raises(UserError, match=r"gate\.json has not the figures of"):
        report.run(CONTRACT, tmp_path)
