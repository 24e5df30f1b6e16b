"""The report says the verdict first, fits into a comment, and shows hostile text as text."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.verdict import Verdict
from pipelines.base.errors import UserError
from pipelines.core.tasks.binary import BINARY
from pipelines.judge import proposal
from pipelines.pulls import comment
from pipelines.pulls.decision import Decision
from pipelines.pulls.proposals import Head, Proposal
from pipelines.report import findings, markdown, report
from tests.problems.parcels import PROBLEM

HOSTILE = (
    "</details><script>alert(1)</script><img src=x onerror=y>|`a`|[x](javascript:y)![i](http://e.org)"
    "@maintainer #1 **b** https://e.org www.e.org\n## forged PASS\r\n```mermaid\u202e&lt;"
)

COMPARED: dict[str, float | None] = {metric.key: 0.6 for metric in BINARY.compared}


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
        "candidate": COMPARED | {"roc_auc": 0.7, "log_loss": 0.5},
        "champion": COMPARED | {"roc_auc": None, "log_loss": 0.49},
    }
    points = [0.1 * n for n in range(1, 11)]
    curve = {
        "predicted": points,
        "observed": points,
        "observed_interval": [[0.0, None]] * len(points),
        "intercept": 0.1,
        "slope": None,
        "slope_interval": [0.9, None],
        "intercept_interval": [0.0, 0.2],
        "ece": 0.03,
    }
    cut = {
        **{key: value for key, value in part.items() if key != "name"},
        "slice": hostile,
        "value": hostile,
        "days": 30,
        "difference": 0.012,
        "low": 0.002,
        "high": 0.022,
    }
    return {
        "version": 1,
        "head": "e" * 40,
        "base": "f" * 40,
        "verdict": verdict,
        "findings": [
            {"rule": "days", "verdict": "PASS", "sentence": "The test window has 30 days.", "numbers": {}},
            {"rule": "log_loss", "verdict": verdict, "sentence": f"Log-loss: {hostile}", "numbers": {}},
            {"rule": "slices", "verdict": "PASS", "sentence": "Look.", "numbers": {}, "warning": True},
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
            "resamples": 1000,
            "margin": {"roc_auc": 0.01, "log_loss": 0.005},
            "floor": {"roc_auc": 0.65, "brier_skill": 0},
            "slice": {"rows": 500, "days": 10, "fail": 0.005, "warn": 0.01},
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
        "slices": [cut] * parts,
        "decisions": {
            "moves": [{"name": hostile[:80], "rows": 1200, "less": 900, "more": 300, "saved": -70.5}],
            "rows": [
                {
                    "time": "2013-06-02 14:00",
                    "slices": {hostile[:40]: hostile[:40]},
                    "champion": "0.100",
                    "candidate": "0.900",
                    "label": "yes",
                    "saved": 3,
                }
            ],
        },
        "calibration": {"candidate": curve, "champion": curve},
        "roc": {"candidate": {"false_alarms": points, "found": points}},
        "superior": verdict == "PASS",
        "anchor": {
            "origin": hostile,
            "commit": "c" * 40,
            "sha256": "d" * 64,
            **{key: model[key] for key in ("estimator", "settings", "first", "last", "rows")},
        },
        "validation": {
            "months": [{"month": hostile, "held": 46, "of": 47}] * min(parts, 120),
            "nearest": [
                {"month": "2013-05", "column": hostile, "what": "missing", "share": 0.1, "allowed": 0.3}
            ],
        },
        "explain": explained(hostile, min(parts, 40)),
    }


def explained(hostile: str, features: int) -> dict[str, Any]:
    names = [f"{hostile[:70]}{n}" for n in range(features)]
    axis = [hostile[:40], "B"]
    told = {"feature": names[0], "category": True, "unit": hostile[:20], "values": axis, "p": [0.2, 0.3]}
    number = {**told, "category": False, "values": [1.5, 2.0], "feature": names[-1]}
    row = {"p": 0.2, "label": True, "values": [0.05] * features, "given": [hostile[:40]] * features}
    return {
        "rows": 2000,
        "repeats": 5,
        "importance": {
            "candidate": {"features": [{"feature": n, "mean": 0.01, "sd": 0.001} for n in names]},
            "champion": {"note": f"could not be explained: {hostile}"},
        },
        "dependence": {"candidate": {"features": [told, number]}, "champion": {"features": [told]}},
        "shap": {name: {"base": 0.2, "features": names, "rows": [row] * 6} for name in findings.MODELS},
    }


def report_of(value: dict[str, Any]) -> str:
    return report.render(Verdict.model_validate(value), PROBLEM.contract)


def written(tmp_path: Path, value: Any) -> Path:
    (tmp_path / "gate.json").write_text(json.dumps(value))
    return tmp_path


def test_the_verdict_and_its_reason_come_first() -> None:
    lines = report_of(gate("FAIL")).splitlines()
    assert lines[0] == "## ❌ FAIL"
    assert "may not merge" in lines[2] and "Log-loss: fine" in lines[2]
    assert report_of(gate("INCONCLUSIVE")).splitlines()[0] == "## 🟡 INCONCLUSIVE"
    good = report_of(gate("PASS")).splitlines()
    assert good[0] == "## ✅ PASS" and "27,075 rows of 30 days" in good[2]


def test_the_intervals_say_what_was_drawn() -> None:
    value = gate()
    assert "bootstrap of the days, in blocks;" in report_of(value)
    value["thresholds"]["unit"] = "week"
    assert "bootstrap of the weeks;" in report_of(value)


def test_what_did_not_pass_stands_above_what_did() -> None:
    text = report_of(gate("FAIL"))
    assert text.index("`log_loss`") < text.index("`days`")


def test_the_first_screen_has_the_intervals_the_changes_and_nothing_folded() -> None:
    screen = report_of(gate()).split("<details>")[0]
    assert (
        "| log-loss ↓ | 0.5300 [0.5000, 0.5600] | 0.6000 [–, –] | **+0.0700** [+0.0500, +0.0900] |" in screen
    )
    assert "2013-01 to 2013-06 became 2013-01 to 2013-07" in screen
    assert "`pipelines/problem/fine`" in screen
    assert "mermaid" not in screen


def test_each_block_of_details_is_closed_and_set_off_by_blank_lines() -> None:
    text = report_of(gate())
    assert text.count("<details>") == text.count("</details>") == 10
    assert len(re.findall(r"\n\n<details><summary>[^<]*</summary>\n\n", text)) == 10
    assert len(re.findall(r"\n```mermaid\n%%.*%%\nxychart-beta\n", text)) == 5 and text.count("```") == 10
    assert "data:" not in text


def test_decisions_that_change_are_counted_and_what_they_cost_is_said() -> None:
    text = report_of(gate())
    said = (
        "**Decisions that change:** 1,200 of 27,075 (4.4%); the candidate is right on 900 of them (75%), and"
    )
    assert f"{said} what they cost rises by 70.5 in all (0.059 each)." in text.split("<details>")[0]
    assert "| fine | 1,200 | 900 | 300 | -70.5 |" in text
    assert "| 2013-06-02 14:00 | fine | 0.100 | 0.900 | yes | +3.00 |" in text
    value = gate()
    value["decisions"]["moves"] = []
    assert "**Decisions that change:** none on the test window." in report_of(value)


def test_a_pass_to_look_at_stands_out_and_a_better_model_is_called_so() -> None:
    text = report_of(gate("PASS"))
    assert "| ⚠️ | `slices` | Look. |" in text
    assert "Look at slices before you merge." in text.splitlines()[2]
    assert "shown better than the anchor" in text.splitlines()[2]
    alone = report_of(gate("PASS") | {"anchor": None})
    assert "shown better than the champion" in alone.splitlines()[2]
    failed = report_of(gate("FAIL"))
    assert failed.index("`log_loss`") < failed.index("`slices`") < failed.index("`days`")
    assert "before you merge" not in failed


@pytest.mark.parametrize(
    ("low", "difference", "sign"),
    [(0.006, 0.02, "❌"), (0.004, 0.02, "⚠️"), (0.004, 0.009, ""), (-0.001, 0.02, ""), (None, 0.02, "")],
)
def test_a_slice_is_marked_by_the_gates_own_limits(low: float | None, difference: float, sign: str) -> None:
    value = gate(parts=1)
    value["slices"][0] |= {"low": low, "difference": difference}
    (line,) = [line for line in report_of(value).splitlines() if "fine fine" in line]
    assert line.split("|")[1].strip() == sign


def test_what_the_models_look_at_stands_side_by_side_and_a_note_where_one_cannot_be_explained() -> None:
    value = gate()
    text = report_of(value)
    assert "The champion could not be explained: fine." in text
    assert "| `fine0` | 0.0100 ± 0.0010 | ████████████ |" in text
    value["explain"]["importance"]["champion"] = {
        "features": [
            {"feature": "fine0", "mean": 0.005, "sd": 0.002},
            {"feature": "gone", "mean": 0, "sd": 0},
        ]
    }
    text = report_of(value)
    assert "| `fine0` | 0.0050 ± 0.0020 | ██████ | 0.0100 ± 0.0010 | ████████████ |" in text
    assert "| `gone` | 0.0000 ± 0.0000 |  | – |  |" in text


@pytest.mark.parametrize("parts", [3, 100, 5000])
def test_a_report_stays_below_the_limit_whatever_a_proposal_holds(parts: int) -> None:
    text = report_of(gate(hostile="x" * 300 + HOSTILE, parts=parts))
    assert len(text) < report.LIMIT_CHARACTERS
    if parts == 5000:
        assert "Left out" in text and "see gate.json" in text


def held(text: str) -> None:
    """Nothing of HOSTILE is markup."""
    charts = re.findall(r"```mermaid\n(.*?)\n```", text, flags=re.DOTALL)
    outside_code = re.sub(r"`[^`\n]*`", "", re.sub(r"```mermaid\n.*?```", "", text, flags=re.DOTALL))
    markup = set(re.findall(r"<[^>]*>", outside_code))
    assert markup <= {"<details>", "</details>", "<summary>", "</summary>"}
    assert text.count("<details>") == 10 and outside_code.count("</details>") == 10
    for line in "\n".join(charts).splitlines():
        assert not re.search(r"[<>@;`\\]", line.replace(" --> ", ""))
        assert line.count('"') % 2 == 0 and line.count("%%") in (0, 2)
    assert not re.search(r"^## forged", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)\]\(", outside_code)
    assert not re.search(r"@\w", outside_code) and not re.search(r"#\d", outside_code)
    assert not re.search(r"https?:|www\.", outside_code)
    assert "\u202e" not in text
    for line in text.splitlines():  # a cell that breaks out would change the number of columns
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 5, 6, 7, 8, 11)


def test_hostile_text_is_shown_and_does_nothing() -> None:
    held(report_of(gate(hostile=HOSTILE, parts=1)))


@pytest.mark.parametrize("escaping", ["text", "code", "label"])
def test_a_template_without_its_escaping_filter_would_be_found(
    escaping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markdown, escaping, lambda value, longest=0: str(value))
    with pytest.raises(AssertionError):
        held(report_of(gate(hostile=HOSTILE, parts=1)))


@pytest.mark.parametrize("template", sorted(path.name for path in markdown.TEMPLATES.iterdir()))
def test_a_template_trusts_no_value(template: str) -> None:
    """Nothing but a filter of ours makes Markup, and each is called where its value is shown."""
    text = (markdown.TEMPLATES / template).read_text()
    assert not re.search(r"\|\s*safe|autoescape|Markup|forceescape|xmlattr|urlize", text)


def test_a_value_is_escaped_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "TEMPLATES", tmp_path)
    (tmp_path / "page.md.j2").write_text(
        "{% macro cell(value) %}{{ value }}{% endmacro %}"
        "| {{ a }} | {{ cell(a) }} | {{ [a, 'b'] | join(' ') }} |"
    )
    found = markdown.render("page.md.j2", a="|`x`@ada <!-- [y](z)\n# w")
    cell = "\\|\\`x\\`@\N{WORD JOINER}ada &lt;\\!-- \\[y\\](z) #\N{WORD JOINER} w"
    assert found == f"| {cell} | {cell} | {cell} b |\n"


def test_the_trusted_side_accepts_what_gate_and_report_write(tmp_path: Path) -> None:
    folder = written(tmp_path, gate("FAIL", HOSTILE))
    proposal = Proposal(1, Head("1" * 40, "better", None), "main", "2" * 40, "main")
    path = comment.write(
        folder, PROBLEM.contract, Decision("failure", "worse", None, (HOSTILE,)), proposal, labelled=True
    )
    assert "@maintainer" not in path.read_text()


def test_the_report_goes_to_the_steps_summary_too(tmp_path: Path, monkeypatch) -> None:
    summary = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    path = report.run(PROBLEM.contract, written(tmp_path, gate()))
    assert path == tmp_path / "report.md"
    assert path.read_text().strip() in summary.read_text()


@pytest.mark.parametrize(
    "value", [[], {}, {"verdict": "MERGE", "findings": [1]}, {"verdict": "PASS", "findings": []}]
)
def test_no_evidence_is_no_report(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gate\.json"):
        report.run(PROBLEM.contract, written(tmp_path, value))
    with pytest.raises(UserError, match=r"gate\.json"):
        report.run(PROBLEM.contract, tmp_path / "nothing")


def test_a_gate_that_could_measure_nothing_still_has_a_report() -> None:
    bare = gate("INCONCLUSIVE") | {
        "candidate": None,
        "champion": None,
        "window": None,
        "params": [],
        "code": None,
        "metrics": [],
        "months": [],
        "slices": [],
        "anchor": None,
        "validation": None,
        "explain": None,
        "decisions": None,
        "calibration": {},
        "roc": {},
        "data": {"base": ["2013-01", "2013-06"], "proposal": None},
    }
    text = report_of(bare)
    assert text.startswith("## 🟡 INCONCLUSIVE") and "<details>" not in text


def test_a_first_model_has_no_differences_to_show() -> None:
    metrics = [row | {"champion": None, "difference": None} for row in gate()["metrics"]]
    lines = report_of(gate() | {"metrics": metrics, "champion": None}).splitlines()
    shown = [line for line in lines if line.startswith(("| ROC-AUC ↑", "| log-loss ↓"))]
    assert shown and all(line.endswith("| – |") and "**" not in line for line in shown)
    assert any("| **" in line for line in report_of(gate()).splitlines())  # where there is a champion


def test_the_terminal_shows_bars_and_no_mermaid(tmp_path: Path, capsys) -> None:
    path = report.run(PROBLEM.contract, written(tmp_path, gate()))
    markdown.show(path)
    shown = capsys.readouterr().out
    assert "FAIL" in shown and "█" in shown and "mermaid" not in shown and "<details>" not in shown
    markdown.show(path, details=False)
    assert "█" not in capsys.readouterr().out


def test_the_builds_word_on_its_data_is_read_and_never_trusted(tmp_path: Path) -> None:
    assert proposal.validation(tmp_path) is None
    (tmp_path / "build").mkdir()
    path = tmp_path / "build/validation.json"
    for bad in (
        "",
        "[]",
        '{"results": 5}',
        '{"results": [{"month": 1}]}',
        "[" * 100_000,
        '{"results": [[]]}',
    ):
        path.write_text(bad)
        told = proposal.validation(tmp_path)
        assert told is not None and list(told) == ["note"] and "build/validation.json" in told["note"]
        assert "build/validation.json" in report_of(gate() | {"validation": told})
    path.unlink()
    path.symlink_to("/etc/hostname")
    assert "is a link" in (proposal.validation(tmp_path) or {})["note"]


def test_what_comes_nearest_to_being_refused_stands_first(tmp_path: Path) -> None:
    def result(column: str, share: float, mostly: float, success: bool = True) -> dict[str, Any]:
        return {
            "month": "2013-05",
            "expectation": "expect_column_values_to_not_be_null",
            "setting": {"column": column, "mostly": mostly},
            "success": success,
            "observed": share,
            "examples": [],
        }

    (tmp_path / "build").mkdir()
    results = [result("far", 0.1, 0.5), result("near", 0.04, 0.95), result("none", 0.0, 0.9, False)]
    (tmp_path / "build/validation.json").write_text(json.dumps({"results": results}))
    told = proposal.validation(tmp_path)
    assert told is not None and told["months"] == [{"month": "2013-05", "held": 2, "of": 3}]
    assert [found["column"] for found in told["nearest"]] == ["near", "far"]
    assert "| 2013-05 | `near` | missing | 4.00% | 5.00% |" in report_of(gate() | {"validation": told})
