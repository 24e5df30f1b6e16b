"""The report says truly which decisions change, for whom they are better, and what they save."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.core.params import Decision
from pipelines.core.problem import Problem
from pipelines.judge.evidence import Evidence, Scored, Window
from pipelines.judge.gate import MOST_MOVED, decisions
from tests.problems import parcels

HEAT = Problem("tests.problems.heat")
N = 400
DRAW = np.random.default_rng(5)


def evidence(problem: Problem, label: np.ndarray, before: np.ndarray, after: np.ndarray) -> Evidence:
    contract = problem.contract
    times = pd.date_range("2013-06-01", periods=len(label), freq="h")
    named = {column.name: ["A"] * len(label) for column in contract.slices}
    rows = pd.DataFrame({contract.time.name: times, **named})
    window = Window(("2013-06-01",), np.zeros(len(label), dtype=int), label, rows)
    costs = {key: float(n) for n, key in enumerate(problem.task.costs, 1)}
    params = parcels.PARAMS.model_copy(update={"decision": Decision(**costs)})
    beside = {"champion": Scored(before, None, None), "champion_model": SimpleNamespace()}
    return Evidence(params, problem, window=window, candidate=Scored(after, None, None), **beside)


def test_of_a_flag_the_right_ones_are_those_that_cost_less() -> None:
    label, before, after = DRAW.random(N) < 0.3, DRAW.random(N), DRAW.random(N)
    e = evidence(parcels.PROBLEM, label, before, after)
    costs = e.params.decision
    found = decisions(e)
    assert found is not None and costs.threshold is not None and costs.false_alarm and costs.miss
    old, new = before >= costs.threshold, after >= costs.threshold
    by_name = {move["name"]: move for move in found["moves"]}
    assert by_name.keys() == {"acts now", "acts no more"}
    for name, rows in (("acts now", new & ~old), ("acts no more", old & ~new)):
        right = (new == label) & rows
        assert (by_name[name]["rows"], by_name[name]["less"]) == (rows.sum(), right.sum())
        assert by_name[name]["more"] == rows.sum() - right.sum()  # one of the two is right
    cost = [
        costs.false_alarm * (act & ~label).sum() + costs.miss * (~act & label).sum() for act in (old, new)
    ]
    assert sum(move["saved"] for move in found["moves"]) == pytest.approx(cost[0] - cost[1])


def test_of_a_number_a_small_step_is_no_other_decision() -> None:
    problem = HEAT
    label = DRAW.normal(60, 15, N)
    before = label + DRAW.normal(0, 3, N)
    after = before + np.where(np.arange(N) % 4, 0.5, 5.0)  # the label's range is 140 °F
    e = evidence(problem, label, before, after)
    found = decisions(e)
    assert found is not None
    (move,) = found["moves"]
    assert (move["name"], move["rows"]) == ("higher by over 1.4 °F", N // 4)
    charges = [problem.task.charges(label, answers, e.params.decision) for answers in (before, after)]
    by_hand = np.where(before > label, before - label, 2 * (label - before))  # over costs 1, under 2
    assert charges[0] == pytest.approx(by_hand)
    saved = (charges[0] - charges[1])[::4]
    assert move["saved"] == pytest.approx(saved.sum()) and move["less"] == (saved > 0).sum()


def hour(row: dict[str, Any]) -> int:
    """The place of a row in the table: one an hour."""
    return int((pd.Timestamp(row["time"]) - pd.Timestamp("2013-06-01")) / pd.Timedelta(hours=1))


def test_the_rows_that_differ_most_come_first_and_no_more_of_them_than_their_slices() -> None:
    label, before = DRAW.random(N) < 0.3, DRAW.random(N)
    after = before.copy()
    after[[7, 3]] = 1 - np.round(before[[7, 3]])  # the farthest that there is
    found = decisions(evidence(parcels.PROBLEM, label, before, after))
    assert found is not None and len(found["rows"]) == MOST_MOVED
    assert {hour(row) for row in found["rows"][:2]} == {3, 7}
    assert set(found["rows"][0]) == {"time", "slices", "champion", "candidate", "label", "saved"}
    for row in found["rows"]:
        assert row["label"] == ("yes" if label[hour(row)] else "no")


def test_two_models_that_answer_alike_change_nothing() -> None:
    label, before = DRAW.random(N) < 0.3, DRAW.random(N)
    assert decisions(evidence(parcels.PROBLEM, label, before, before)) is None
    e = evidence(parcels.PROBLEM, label, before, before[::-1])
    assert decisions(replace(e, champion=None)) is None
    assert decisions(e) is not None
