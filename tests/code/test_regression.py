"""The kind of answer that is a number: its figures are those of the field, in the label's unit."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from pipelines.artifacts.serving import Interval
from pipelines.base.errors import UserError
from pipelines.core import params, tasks
from pipelines.core.contract import Column, Contract, Decision
from pipelines.core.tasks.regression import COST, MAE, RMSE, SKILL, Regression
from pipelines.judge import proposal
from pipelines.judge.proposal import InvalidProposal
from tests.problems.heat.columns import CONTRACT

TASK = tasks.of(CONTRACT)
COSTS: Any = SimpleNamespace(over=1.0, under=3.0)
DAYS = 6


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, answers and the day of each row."""
    draw = np.random.default_rng(3)
    label = draw.normal(60, 15, 600)
    return label, 0.8 * label + 10 + draw.normal(0, 4, 600), np.sort(draw.integers(0, DAYS, 600))


def test_a_label_that_is_a_number_makes_the_task() -> None:
    assert isinstance(TASK, Regression) and (TASK.span, TASK.unit) == (140, "°F")


def test_figures_say_the_label_s_unit_where_it_has_one() -> None:
    assert TASK.loss.name == "mean absolute error (°F)" and TASK.compared[1].name.endswith("error (°F)")
    assert (TASK.rate_name, TASK.parts) == ("mean label (°F)", ("y (°F)",))
    bare = Regression(replace(CONTRACT.label, unit=""))
    assert bare.metrics == (MAE, RMSE, SKILL, COST) and bare.parts == ("y",)
    sent = pickle.loads(pickle.dumps(TASK))  # to the processes of the judge
    assert sent.loss.name == TASK.loss.name and sent.span == TASK.span


def test_each_metric_is_that_of_the_field_on_the_rows_that_the_weights_draw(drawn: Any) -> None:
    label, answers, day = drawn
    sums = TASK.sums(label, answers, day, DAYS, (50.0, 100.0), COSTS)
    weights = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 0, 3, 0]])
    for row in weights:
        often = np.repeat(np.arange(len(label)), row[day])
        y, said = label[often], answers[often]
        errors = said - y
        wanted = {
            MAE: mean_absolute_error(y, said),
            RMSE: root_mean_squared_error(y, said),
            SKILL: 1 - np.mean(errors**2) / np.mean((y - 50) ** 2),
            COST: np.where(errors > 0, errors, -3 * errors).mean(),
        }
        for metric, value in wanted.items():
            assert metric.of(sums, row) == pytest.approx(value)
            assert metric.of(sums, weights).shape == (2,)
        assert TASK.own_skill(sums, row) == pytest.approx(r2_score(y, said))
    assert MAE.of(sums, None) == pytest.approx(mean_absolute_error(label, answers))


def test_skill_against_another_constant_is_told_for_the_days_own(drawn: Any) -> None:
    label, answers, day = drawn
    before = (50.0, 100.0)
    sums = TASK.sums(label, answers, day, DAYS, before, COSTS)
    told = TASK.restated(float(SKILL.of(sums, None)), TASK.constant(label), before)
    assert told == pytest.approx(r2_score(label, answers))
    assert np.isnan(TASK.restated(0.5, (50.0, 0.0), before))


def test_knowing_is_the_order_and_chance_is_a_half(drawn: Any) -> None:
    label, answers, _ = drawn
    assert TASK.knows(label, answers) == pytest.approx((1 + spearmanr(label, answers).statistic) / 2)
    ties = np.round(answers, -1)
    assert TASK.knows(label, ties) == pytest.approx((1 + spearmanr(label, ties).statistic) / 2)
    assert TASK.knows(label, -label) == pytest.approx(0) and TASK.knows(label, np.ones(600)) == 0.5


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_error_of_what_it_knows_is_that_of_many_windows(rho: float) -> None:
    draw, knows = np.random.default_rng(4), []
    for _ in range(2000):
        label, noise = draw.normal(size=(2, 60))
        knows.append(TASK.knows(label, rho * label + np.sqrt(1 - rho**2) * noise))
    value, each = float(np.mean(knows)), np.arange(60)
    assert TASK.knows_error(label, noise, each, value) == pytest.approx(np.std(knows), rel=0.1)
    label, noise, day = (np.repeat(values, 20) for values in (label, noise, each))
    alike = TASK.knows_error(label, noise, day, value)
    assert alike == pytest.approx(np.std(knows), rel=0.1)  # twenty rows a day that say the same are one


def test_calibration_is_the_slope_of_label_on_answer_and_the_mean_error(drawn: Any) -> None:
    label, answers, day = drawn
    found = TASK.calibration(label, answers)
    assert found["slope"] == pytest.approx(LinearRegression().fit(answers[:, None], label).coef_[0])
    assert found["bias"] == pytest.approx((answers - label).mean() / label.std())
    draws = TASK.calibration_draws(label, answers, day, np.array([[1] * DAYS, [0, 0, 6, 0, 0, 0]]))
    inside = day == 2
    assert draws["slope"][0] == pytest.approx(found["slope"])
    assert draws["bias"][1] == pytest.approx(TASK.calibration(label[inside], answers[inside])["bias"])
    assert TASK.calibration(label, label) == pytest.approx(dict(TASK.ideal), abs=1e-9)


def test_numbers_far_from_nought_are_judged_as_those_near_it(drawn: Any) -> None:
    label, answers, day = drawn
    weights = np.array([[2, 0, 1, 0, 3, 0]])

    def told(far: float) -> list[float]:
        sums = TASK.sums(label + far, answers + far, day, DAYS, (50.0 + far, 100.0), COSTS)
        fit = TASK.calibration_draws(label + far, answers + far, day, weights)
        return [float(v[0]) for v in (TASK.own_skill(sums, weights), SKILL.of(sums, weights), *fit.values())]

    assert told(1e8) == pytest.approx(told(0.0), rel=1e-4)


def test_what_is_no_number_is_no_answer() -> None:
    wrong, what = TASK.wrong(np.array([1.0, np.nan, np.inf, -40.0]))
    assert wrong.tolist() == [False, True, True, False] and "number" in what
    assert TASK.difference(np.array([60.0]), np.array([67.0])) == pytest.approx(0.05)  # of the label's range
    with pytest.raises(TypeError):
        TASK.read("60")


def test_an_answer_says_its_interval_or_that_there_is_none() -> None:
    served = SimpleNamespace(interval=Interval(level=0.9, half_width=4.5, days=31))
    said = TASK.predictions(np.array([61.5]), served)
    assert json.loads(json.dumps(said)) == [{"y": 61.5, "low": 57.0, "high": 66.0}]
    schema = TASK.schema(CONTRACT.decision, served)
    assert schema["properties"]["y"]["description"] == "air temperature in three hours, in °F"
    assert "90 % of all cases" in schema["properties"]["low"]["description"]
    without = SimpleNamespace(interval=None)
    assert TASK.predictions(np.array([61.5]), without) == [{"y": 61.5, "low": None, "high": None}]
    assert TASK.schema(CONTRACT.decision, without)["properties"]["high"]["nullable"]


def test_the_interval_weighs_days_and_leaves_room_for_a_new_one() -> None:
    label, zero = np.arange(1.0, 21.0), np.zeros(20)
    of_one = np.arange(20)  # each row a day: the plain split conformal quantile, the 19th of 20
    assert TASK.half_width(label, zero, of_one, 0.9) == 19 == np.sort(label)[int(np.ceil(21 * 0.9)) - 1]
    crowded = np.concatenate([np.zeros(10, dtype=int), np.arange(1, 11)])  # ten rows of one good day
    assert TASK.half_width(label, zero, crowded, 0.5) == 15  # a half of the rows are up to 10
    assert TASK.half_width(label[:9], zero[:9], of_one[:9], 0.9) == 9
    assert TASK.half_width(label[:8], zero[:8], of_one[:8], 0.9) is None  # 8 of 9 days are 89 %


def test_so_many_labels_of_new_days_are_inside_whatever_their_days_share() -> None:
    draw, held = np.random.default_rng(5), []
    for _ in range(300):
        luck = draw.normal(0, 2, 31)  # of a day
        day = np.repeat(np.arange(31), draw.integers(1, 40, 31))
        error = luck[day] + draw.normal(0, 1, len(day))
        half = TASK.half_width(error, np.zeros(len(day)), day, 0.9)
        assert half is not None
        held.append(np.mean(np.abs(draw.normal(0, 2, 400) + draw.normal(0, 1, 400)) <= half))
    assert 0.9 <= np.mean(held) < 0.94


def test_labels_that_are_all_one_number_teach_nothing() -> None:
    assert TASK.lacks(TASK.labels(pd.Series([3, 3, 3]))) == ("3", "two values")
    assert TASK.lacks(TASK.labels(pd.Series([3, 4]))) is None


def test_a_proposal_with_params_of_another_kind_of_answer_is_one_sentence(tmp_path: Path) -> None:
    theirs = Path(__file__).parents[1] / "problems/rain/params.yaml"
    (tmp_path / "params.yaml").write_text(theirs.read_text())
    with pytest.raises(InvalidProposal, match=r"^params\.yaml: decision\.false_alarm is of other answers: "):
        proposal.values(tmp_path, TASK)


def _contract(label: Column, decision: Any) -> Contract:
    columns = (*(column for column in CONTRACT.columns if not column.label), label)
    return Contract("heat", "an hour", 0.0, decision, columns)


@pytest.mark.parametrize(
    ("label", "decision", "why"),
    [
        (Column("y", "number", "a number", label=True), CONTRACT.decision, "needs minimum and maximum"),
        (Column("y", "flag", "a flag", label=True), CONTRACT.decision, "must be a Decision"),
        (
            Column("y", "number", "a number", label=True, minimum=0, maximum=1),
            Decision("it rains", "cover", "in vain", "wet"),
            "must be a Estimate",
        ),
        (
            Column("y", "text", "a text", label=True),
            CONTRACT.decision,
            "must be of type flag, number, integer, category",
        ),
        (
            Column("y", "number", "known now", label=True, known_at=0.0, minimum=0, maximum=1),
            CONTRACT.decision,
            "known only afterwards",
        ),
    ],
)
def test_a_label_and_a_decision_that_do_not_fit_are_one_sentence(
    label: Column, decision: Any, why: str
) -> None:
    with pytest.raises(ValueError, match=f"^columns.py: .*{why}"):
        _contract(label, decision)


def test_params_of_another_kind_of_answer_are_one_sentence() -> None:
    from tests.problems.parcels import PARAMS, PARAMS_FILE, PROBLEM

    assert PROBLEM.task.suited(PARAMS) is PARAMS
    with pytest.raises(
        UserError, match=r"^params\.yaml: decision\.false_alarm is of other answers: .* over, under$"
    ):
        TASK.suited(PARAMS)
    ours = TASK.suited(params.load(Path(__file__).parents[1] / "problems/heat/params.yaml"))
    assert (ours.decision.coverage, ours.gate.margin.coverage) == (0.9, 0.05)  # where nothing is said
    stricter = ours.decision.model_copy(update={"coverage": 0.95})
    assert TASK.suited(ours.model_copy(update={"decision": stricter})).decision == stricter
    held = PARAMS.decision.model_copy(update={"coverage": 0.9})
    with pytest.raises(UserError, match=r"^params\.yaml: decision\.coverage is of other answers"):
        PROBLEM.task.suited(PARAMS.model_copy(update={"decision": held}))
    bare = PARAMS.model_copy(update={"decision": params.Decision(false_alarm=1.0)})
    with pytest.raises(
        UserError, match=r"^p\.yaml: decision\.miss is missing: this label asks for false_alarm, miss$"
    ):
        PROBLEM.task.suited(bare, "p.yaml")
    assert "mae" not in PARAMS.model_dump()["gate"]["margin"]  # what is not said is not written
    assert params.load(PARAMS_FILE) == PARAMS
