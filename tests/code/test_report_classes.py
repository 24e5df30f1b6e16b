"""Where an answer is a probability of each class, the report shows each and says which a number is of."""

from dataclasses import replace
from typing import Any

import pytest

from pipelines.artifacts.verdict import Verdict
from pipelines.base.errors import UserError
from pipelines.core.contract import Choice
from pipelines.core.tasks.multiclass import Multiclass
from pipelines.report import figures, page, report
from tests.code.test_report import gate, report_of
from tests.problems.delay.columns import CONTRACT

TASK = Multiclass(CONTRACT.label)
AXIS = [0.1 * n for n in range(1, 11)]


def classes(names: tuple[str, ...] = TASK.classes) -> dict[str, Any]:
    """gate.json of classes of these names: of the n-th all is n / 100 more than of the first."""
    value, many = gate("PASS"), len(names)
    tenths = [x / 2 + n / 100 for n in range(many) for x in AXIS]
    its = {f"{figure} ({name})": 1.0 for name in names for figure in ("slope", "intercept")}
    curve = {"predicted": tenths, "observed": tenths, "observed_interval": [[0.0, None]] * len(tenths)}
    curve |= {"ece": 0.03, **its, **{f"{figure}_interval": [0.9, 1.1] for figure in its}}
    told = {"feature": "hour", "category": False, "unit": "h", "values": [6.0, 7.0]}
    told["p"] = [x + n / 100 for n in range(many) for x in (0.2, 0.3)]
    row = {"p": 0.25, "label": names[0], "values": [0.05], "given": [None]}
    shap = {"base": [0.2 + n / 100 for n in range(many)], "features": ["hour"], "rows": [row] * 6}
    both = ("candidate", "champion")
    value["calibration"] = dict.fromkeys(both, curve)
    value["explain"]["dependence"] = {name: {"features": [told]} for name in both}
    value["explain"]["shap"] = dict.fromkeys(both, shap)
    value["confusion"] = {
        model: {came: {said: 10 * (came == said) + more for said in names} for came in names}
        for model, more in zip(both, (5, 2), strict=True)
    }
    return value


def test_each_class_is_drawn_and_named() -> None:
    text = report.render(Verdict.model_validate(classes()).of(TASK), CONTRACT)
    for n, name in enumerate(TASK.classes):
        assert f'title "mean p({name}), by hour (h)"' in text
        assert f"    line [{0.2 + n / 100:.4f}, {0.3 + n / 100:.4f}]" in text
        assert f'title "candidate: observed share (bars), p({name}) (line), by tenths"' in text
    assert text.count("xychart-beta") == 3 + 2 * 3 + 1  # of one feature, of the tenths of two models, the ROC
    assert "The mean probability of each class when all rows" in text
    assert "| candidate: p of what came true | what came true | raised by | lowered by |" in text
    assert "p(on time) is 0.200, p(late) is 0.210, p(very late) is 0.220 on average" in text
    assert "mean gap between p of each class and observed share" in text and "Drawn are the last" not in text


def test_what_is_decided_stands_beside_what_came_true_with_the_difference_to_the_champion() -> None:
    text = report.render(Verdict.model_validate(classes()), CONTRACT)
    assert "| came true | decided: on time | decided: late | decided: very late | right |" in text
    assert "| late | 5 (+3) | 15 (+3) | 5 (+3) | 60% |" in text and "more than the champion" in text
    first = classes()
    del first["confusion"]["champion"]
    text = report.render(Verdict.model_validate(first), CONTRACT)
    assert "| late | 5 | 15 | 5 | 60% |" in text and "more than the champion" not in text
    assert "Confusion" not in report_of(gate())


def test_of_many_classes_the_last_ones_are_drawn_and_that_is_said() -> None:
    names = tuple(f"class {n}" for n in range(9))
    columns = (replace(column, values=names) if column.label else column for column in CONTRACT.columns)
    decision = Choice("it", dict.fromkeys(names, "nothing is done"))
    contract = replace(CONTRACT, columns=tuple(columns), decision=decision)
    verdict = Verdict.model_validate(classes(names))
    text = report.render(verdict, contract)
    assert text.count("Drawn are the last 4 of 9.") == 2
    assert [n for n in range(9) if f"mean p(class {n})" in text] == [5, 6, 7, 8]
    assert page.render(verdict, contract).count("<figure>") == 7


def test_a_plot_of_each_class_is_drawn_from_its_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(figures, "uri", lambda figure: drawn.setdefault(str(len(drawn)), figure))
    assert "calibration" in figures.draw(Verdict.model_validate(classes()).model_dump(), TASK)
    labels = {axes.get_ylabel(): axes for figure in drawn.values() for axes in figure.axes}
    for n, name in enumerate(TASK.classes):
        lines = labels[f"mean p({name})"].get_lines()
        assert lines[0].get_ydata() == pytest.approx([0.2 + n / 100, 0.3 + n / 100])
    squares = {axes.get_xlabel(): axes for figure in drawn.values() for axes in figure.axes}
    for n, name in enumerate(TASK.classes):
        *_, points = squares[f"mean p({name}) of a tenth"].get_lines()
        assert points.get_xdata() == pytest.approx([x / 2 + n / 100 for x in AXIS])


@pytest.mark.parametrize("lost", ["a line", "a cell", "a tenth"])
def test_figures_that_are_not_of_each_class_are_refused(lost: str) -> None:
    value = classes()
    if lost == "a line":
        del value["confusion"]["champion"]["late"]
    elif lost == "a cell":
        del value["confusion"]["candidate"]["late"]["on time"]
    else:
        value["calibration"]["champion"]["predicted"] = AXIS
    with pytest.raises(UserError, match=r"^gate\.json has not the figures"):
        Verdict.model_validate(value).of(TASK)
