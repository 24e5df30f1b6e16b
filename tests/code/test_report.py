"""The report says the verdict first, fits into a comment, and shows hostile text as text."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.review import comment, report

HOSTILE = (
    "</details><script>alert(1)</script><img src=x onerror=y>|`a`|[x](javascript:y)![i](http://e.org)"
    "@maintainer #1 **b** https://e.org www.e.org\n## forged PASS\r\n```mermaid\u202e&lt;"
)


def gate(verdict: str = "FAIL", hostile: str = "fine", parts: int = 3) -> dict[str, Any]:
    model = {
        "sha256": "a" * 64,
        "first": "2013-01-01",
        "last": "2013-05-31",
        "rows": 133_603,
        "label_rate": 0.237,
        "estimator": hostile,
        "settings": hostile,
    }
    part = {
        "name": hostile,
        "rows": 500,
        "label_rate": 0.3,
        "candidate": {"roc_auc": 0.7, "log_loss": 0.5},
        "champion": {"roc_auc": None, "log_loss": 0.49},
    }
    points = [0.1 * n for n in range(1, 11)]
    curve = {"predicted": points, "observed": points, "intercept": 0.1, "slope": None}
    return {
        "verdict": verdict,
        "findings": [
            {"rule": "days", "verdict": "PASS", "sentence": "V has 30 days.", "numbers": {}},
            {"rule": "log_loss", "verdict": verdict, "sentence": f"Log-loss: {hostile}", "numbers": {}},
        ],
        "candidate": model,
        "champion": {**model, "origin": f"the base branch's model {hostile}", "commit": "b" * 40},
        "window": {
            "first": "2013-06-01",
            "last": "2013-06-30",
            "days": 30,
            "rows": 27_075,
            "label_rate": 0.3,
        },
        "thresholds": {
            "days": 28,
            "margin": {"roc_auc": 0.01, "log_loss": 0.005},
            "floor": {"roc_auc": 0.65, "brier_skill": 0},
        },
        "params": [{"key": hostile, "base": "1", "proposal": hostile}] * parts,
        "data": {"base": ["2013-01", "2013-06"], "proposal": ["2013-01", "2013-07"]},
        "code": [f"pipelines/problem/{hostile}"] * parts,
        "metrics": [
            {
                "name": "log-loss",
                "better": "lower",
                "champion": [0.53, 0.5, 0.56],
                "candidate": [0.6, None, None],
                "difference": [0.07, 0.05, 0.09],
            }
        ],
        "months": [part] * parts,
        "slices": {"carrier": [part] * parts, "origin": [part] * parts},
        "calibration": {"candidate": curve, "champion": curve},
        "roc": {"candidate": {"false_alarms": points, "found": points}},
    }


def written(tmp_path: Path, value: Any) -> Path:
    (tmp_path / "gate.json").write_text(json.dumps(value))
    return tmp_path


def test_the_verdict_and_its_reason_come_first() -> None:
    lines = report.render(gate("FAIL")).splitlines()
    assert lines[0] == "## ❌ FAIL"
    assert "may not merge" in lines[2] and "Log-loss: fine" in lines[2]
    assert report.render(gate("INCONCLUSIVE")).splitlines()[0] == "## 🟡 INCONCLUSIVE"
    good = report.render(gate("PASS")).splitlines()
    assert good[0] == "## ✅ PASS" and "27,075 rows of 30 days" in good[2]


def test_what_did_not_pass_stands_above_what_did() -> None:
    text = report.render(gate("FAIL"))
    assert text.index("`log_loss`") < text.index("`days`")


def test_the_first_screen_has_the_intervals_the_changes_and_nothing_folded() -> None:
    screen = report.render(gate()).split("<details>")[0]
    assert (
        "| log-loss ↓ | 0.5300 [0.5000, 0.5600] | 0.6000 [–, –] | **+0.0700** [+0.0500, +0.0900] |" in screen
    )
    assert "2013-01 to 2013-06 became 2013-01 to 2013-07" in screen
    assert "`pipelines/problem/fine`" in screen
    assert "mermaid" not in screen


def test_each_block_of_details_is_closed_and_set_off_by_blank_lines() -> None:
    text = report.render(gate())
    assert text.count("<details>") == text.count("</details>") == 5
    assert len(re.findall(r"\n\n<details><summary>[^<]*</summary>\n\n", text)) == 5
    assert text.count("\n```mermaid\nxychart-beta\n") == 3 and text.count("```") == 6
    assert "data:" not in text


@pytest.mark.parametrize("parts", [3, 100, 5000])
def test_a_report_stays_below_the_limit_whatever_a_proposal_holds(parts: int) -> None:
    text = report.render(gate(hostile="x" * 5000 + HOSTILE, parts=parts))
    assert len(text) < report.LIMIT
    if parts == 5000:
        assert "Left out" in text and "see gate.json" in text


def test_hostile_text_is_shown_and_does_nothing() -> None:
    text = report.render(gate(hostile=HOSTILE, parts=1))
    outside_code = re.sub(r"`[^`\n]*`", "", text)
    markup = set(re.findall(r"<[^>]*>", outside_code))
    assert markup <= {"<details>", "</details>", "<summary>", "</summary>"}
    assert text.count("<details>") == 5 and outside_code.count("</details>") == 5
    assert not re.search(r"^## forged", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)\]\(", outside_code)
    assert not re.search(r"@\w", outside_code) and not re.search(r"#\d", outside_code)
    assert not re.search(r"https?:|www\.", outside_code)
    assert "\u202e" not in text
    for line in text.splitlines():  # a cell that breaks out would change the number of columns
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 5, 7, 8)


def test_the_trusted_side_accepts_what_gate_and_report_write(tmp_path: Path) -> None:
    folder = written(tmp_path, gate("FAIL", HOSTILE))
    report.run(folder)
    finding = comment.examine(folder, {"conclusion": "success"})
    assert finding.verdict == "FAIL" and finding.report is not None


def test_the_report_goes_to_the_steps_summary_too(tmp_path: Path, monkeypatch) -> None:
    summary = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    path = report.run(written(tmp_path, gate()))
    assert path == tmp_path / "report.md"
    assert path.read_text().strip() in summary.read_text()


@pytest.mark.parametrize(
    "value", [[], {}, {"verdict": "MERGE", "findings": [1]}, {"verdict": "PASS", "findings": []}]
)
def test_no_evidence_is_no_report(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gate\.json"):
        report.run(written(tmp_path, value))
    with pytest.raises(UserError, match=r"gate\.json"):
        report.run(tmp_path / "nothing")


def test_a_gate_that_could_measure_nothing_still_has_a_report() -> None:
    bare = gate("INCONCLUSIVE") | {
        "candidate": None,
        "champion": None,
        "window": None,
        "params": [],
        "code": None,
        "metrics": [],
        "months": [],
        "slices": {},
        "calibration": {},
        "roc": {},
        "data": {"base": ["2013-01", "2013-06"], "proposal": None},
    }
    text = report.render(bare)
    assert text.startswith("## 🟡 INCONCLUSIVE") and "<details>" not in text


def test_the_terminal_shows_bars_and_no_mermaid(tmp_path: Path, capsys) -> None:
    path = report.run(written(tmp_path, gate()))
    report.show(path)
    shown = capsys.readouterr().out
    assert "FAIL" in shown and "█" in shown and "mermaid" not in shown and "<details>" not in shown
    report.show(path, details=False)
    assert "█" not in capsys.readouterr().out
