"""report.html shows what report.md shows, with plots, needs nothing from anywhere and runs nothing."""

import base64
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipelines.artifacts.verdict import Verdict
from pipelines.core.tasks.binary import BINARY
from pipelines.report import figures, findings, markdown, page, report
from tests.code.test_report import HOSTILE, gate, written
from tests.problems.parcels import PROBLEM


class Tags(HTMLParser):
    """The tags and attributes that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


SVG = "data:image/svg+xml;base64,"
OURS = {tag for tag, _ in Tags((markdown.TEMPLATES / "page.html.j2").read_text()).found}
OURS |= set(
    "h2 h3 p strong code div table thead tbody tr th td figure img".split()
)  # of the report's Markdown


def page_of(value: dict[str, Any]) -> str:
    return page.render(Verdict.model_validate(value), PROBLEM.contract)


def pictures(text: str) -> Iterator[str]:
    for encoded in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text):
        yield base64.b64decode(encoded).decode()


@pytest.mark.parametrize("verdict", ["PASS", "INCONCLUSIVE", "FAIL"])
def test_the_page_says_verdict_rules_metrics_and_changes(verdict: str) -> None:
    text = page_of(gate(verdict))
    assert f'<body class="{verdict}">' in text and findings.WORDS[verdict] in text
    for word in ("log_loss", "Log-loss: fine", "0.5300 [0.5000, 0.5600]", "+0.0700</strong> [+0.0500, "):
        assert word in text
    assert "<strong>2013-01 to 2013-06 became 2013-01 to 2013-07</strong>" in text
    assert "pipelines/problem/fine" in text and "a" * 64 in text and "margin.roc_auc 0.01" in text
    assert "The champion could not be explained: fine." in text
    assert "Log-loss is in nats, the cost of a decision in the unit of params.yaml: decision." in text


def test_the_page_has_a_plot_of_all_that_can_be_plotted() -> None:
    value = gate()
    drawn = figures.draw(Verdict.model_validate(value).model_dump(), BINARY)
    assert list(drawn) == ["metrics", "slices", "curve", "calibration", "importance", "dependence", "shap"]
    text = page_of(value)
    assert len(list(pictures(text))) == len(drawn)
    for tag, attributes in Tags(text).found:
        assert tag != "img" or attributes["alt"]


def test_the_same_evidence_gives_the_same_bytes() -> None:
    assert page_of(gate()) == page_of(gate())


def held(text: str) -> None:
    """Nothing runs, nothing loads, and every tag is one that the template writes."""
    for tag, attributes in Tags(text).found:
        assert tag in OURS, tag
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("src") or SVG).startswith(SVG)
        assert "href" not in attributes
    assert "default-src 'none'" in text
    assert "\u202e" not in text
    for picture in pictures(text):
        for element in ElementTree.fromstring(picture).iter():
            assert element.tag.split("}")[-1] not in ("script", "foreignObject", "a", "image", "text")
            for name, value in element.attrib.items():
                assert not name.startswith("on")
                assert not name.endswith("href") or value.startswith("#")


@pytest.mark.parametrize("parts", [1, 3, 300])
def test_hostile_text_is_shown_and_does_nothing(parts: int) -> None:
    hostile = HOSTILE + "\"'><svg onload=x> {{ 7 * 7 }} {% raw %} $\\frac{"
    text = page_of(gate(hostile=hostile, parts=parts))
    held(text)
    assert "&lt;script&gt;" in text and "<script" not in text and "{{ 7 * 7 }}" in text
    assert len(text) < 4_000_000


@pytest.mark.parametrize("broken", ["<script>x</script>", '<img src="https://e.org/x.png">', "<b onclick=x>"])
def test_what_must_not_be_in_the_page_would_be_found(broken: str) -> None:
    with pytest.raises(AssertionError):
        held(page_of(gate()).replace("<h3>What changed</h3>", broken))


def test_without_the_escaping_filter_hostile_text_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "text", lambda value, longest=0: str(value))
    with pytest.raises(AssertionError):
        held(page_of(gate(hostile="[x](https://e.org)\n\n# forged PASS\n\n> y", parts=1)))


def test_markdown_that_was_not_escaped_becomes_no_html_link_or_image() -> None:
    text = page.html("<b onclick=x> [x](https://e.org) ![i](https://e.org/i.png) <https://e.org>", {})
    assert {tag for tag, _ in Tags(text).found} == {"p"}


def test_a_gate_that_could_measure_nothing_still_has_a_page() -> None:
    missing = ("candidate", "champion", "window", "code", "decisions", "explain", "validation", "anchor")
    empty: dict[str, Any] = {
        "params": [],
        "metrics": [],
        "months": [],
        "slices": [],
        "calibration": {},
        "roc": {},
    }
    bare = gate("INCONCLUSIVE") | dict.fromkeys(missing) | empty
    bare["data"] = {"base": ["2013-01", "2013-06"], "proposal": None}
    text = page_of(bare)
    held(text)
    assert list(pictures(text)) == [] and "params.yaml: nothing." in text


def test_a_figure_that_does_not_exist_is_a_dash_and_no_point() -> None:
    value = gate()
    value["metrics"][0]["difference"] = [0.01, None, None]
    value["calibration"]["candidate"]["observed_interval"] = [[0.0, 0.2]] * 10
    text = page_of(value)
    assert "+0.0100</strong> [–, –]" in text and "metrics" not in figures.draw(
        Verdict.model_validate(value).model_dump(), BINARY
    )


def test_the_report_is_written_as_both(tmp_path: Path) -> None:
    path = report.run(PROBLEM.contract, written(tmp_path, gate()))
    assert path == tmp_path / "report.md"
    assert "<!doctype html>" in (tmp_path / "report.html").read_text()
