"""What belongs together is drawn together: days by default, the groups of columns.py where it has some."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.base.errors import UserError
from pipelines.core import stats, units
from pipelines.core.contract import Column, Contract, Finding
from pipelines.core.params import Params, Tune
from pipelines.core.problem import Problem
from pipelines.judge import rows
from pipelines.judge.evidence import Evidence, Scored, made_of
from pipelines.judge.rules import slices, structure
from pipelines.training import table as training
from pipelines.training import tune
from tests.problems.parcels import PARAMS, PROBLEM
from tests.problems.parcels.columns import CONTRACT

DAYS, GROUPS = 40, 30
TIME = CONTRACT.time.name


def grouped(contract: Contract = CONTRACT) -> Contract:
    """Each van is a group."""
    return replace(contract, columns=tuple(replace(c, group=c.name == "van") for c in contract.columns))


def table(groups: int, days: int = DAYS) -> pd.DataFrame:
    """Rows of each group on each day."""
    time = pd.date_range("2013-06-01", periods=days).repeat(groups)
    return pd.DataFrame({TIME: time, "van": [f"V{n}" for n in range(groups)] * days})


def test_days_are_drawn_in_blocks_where_no_group_is_named() -> None:
    found = units.of(table(3), CONTRACT, "day")
    assert (found.count, found.block) == (DAYS, stats.BLOCK)
    assert (found.of == np.repeat(np.arange(DAYS), 3)).all()
    assert (found.weights(50, 1) == stats.day_weights(DAYS, 50, 1)).all()


def test_what_a_group_has_in_common_is_in_the_interval() -> None:
    found = units.of(table(GROUPS), grouped(), "day")
    assert (found.count, found.block) == (GROUPS, 1)
    luck = np.random.default_rng(2).normal(0, 1, GROUPS)[found.of]  # of each group, the same on all days
    by_group, by_day = (
        (drawn.weights(2000, 1) @ np.bincount(drawn.of, weights=luck)) / len(luck)
        for drawn in (found, units.of(table(GROUPS), CONTRACT, "day"))
    )
    assert by_group.std() == pytest.approx(luck[:GROUPS].std() / np.sqrt(GROUPS), rel=0.1)
    assert by_day.std() < 1e-12  # the negative control: days alone would be sure of it


def test_more_groups_than_can_be_counted_in_pairs_are_dealt_out_and_spread_alike() -> None:
    many = 4 * units.MOST
    found = units.of(table(many), grouped(), "day")
    assert found.count == units.MOST and set(found.of) == set(range(units.MOST))
    assert all((found.of[n::many] == found.of[n]).all() for n in range(0, many, 97))  # a group stays together
    luck = np.random.default_rng(2).normal(0, 1, many)
    drawn = (found.weights(2000, 1) @ np.bincount(found.of, weights=np.tile(luck, DAYS))) / (many * DAYS)
    assert drawn.std() == pytest.approx(luck.std() / np.sqrt(many), rel=0.15)


def test_rows_without_a_group_belong_to_nobody() -> None:
    rows_of = table(3)
    rows_of.loc[[0, 4], "van"] = None
    found = units.of(rows_of, grouped(), "day")
    assert found.count == 5 and found.of[0] != found.of[4]
    assert (found.of[[0, 4]] >= 3).all()


def test_the_judge_draws_groups_and_asks_for_enough_of_them(small_raw: pd.DataFrame) -> None:
    contract = grouped()
    window = rows.window(small_raw, "2013-03-01", contract)
    assert window.units.count == units.MOST and window.units.block == 1
    assert rows.window(small_raw, "2013-03-01", CONTRACT).units.count == len(window.days)
    few = small_raw.assign(van="V" + (small_raw.index % 5).astype(str))
    problem = Problem("tests.problems.parcels")
    said = structure.days(Evidence(PARAMS, problem, window=rows.window(few, "2013-03-01", contract)))
    assert said is not None and said.verdict == "INCONCLUSIVE"
    assert said.sentence.endswith("rows of 5 groups alone: at least 28 are asked for.")
    assert structure.days(Evidence(PARAMS, PROBLEM, window=window)).verdict == "PASS"  # type: ignore[union-attr]


def test_a_slice_of_few_groups_is_too_small_to_judge() -> None:
    """Its days are many, and what its one group has in common would be no chance at all."""
    rows_of = table(GROUPS).assign(depot=lambda t: np.where(t["van"] == "V0", "lonely", "shared"))
    contract, count = grouped(), len(rows_of)
    drawn = replace(units.of(rows_of, contract, "day"), block=1)
    day = units.of(rows_of, CONTRACT, "day")
    label, p = np.random.default_rng(1).random((2, count))
    named = rows_of.assign(**{column.name: rows_of["depot"] for column in CONTRACT.slices})
    days = tuple(map(str, range(DAYS)))
    window = rows.Window(days, day.of, label < 0.3, named, drawn)
    limits = PARAMS.gate.slice.model_copy(update={"rows": 10, "days": 10})
    params = PARAMS.model_copy(update={"gate": PARAMS.gate.model_copy(update={"slice": limits})})

    def judged(window: rows.Window) -> set[str]:
        pair = (Scored(answers, None, None) for answers in (p, p[::-1]))
        e = Evidence(params, PROBLEM, window=window, candidate=next(pair), champion=next(pair))
        return {part.value for part in slices.parts(e) if np.isfinite(part.low)}

    assert "lonely" not in judged(window) and "shared" in judged(window)
    assert "lonely" in judged(replace(window, drawn=None))


# --- weeks and months --------------------------------------------------------------------------------------


def asking(unit: str, **of_gate: Any) -> Params:
    """The tests' params that draw this unit."""
    return PARAMS.model_copy(update={"gate": PARAMS.gate.model_copy(update={"unit": unit, **of_gate})})


def test_weeks_begin_on_monday_and_have_no_neighbours() -> None:
    weeks, months = (units.of(table(3), CONTRACT, unit) for unit in ("week", "month"))
    day = table(3)[TIME].dt
    assert (weeks.name, weeks.block, months.name, months.block) == ("weeks", 1, "months", 1)
    assert (np.diff(weeks.of) > 0).tolist() == (
        (day.dayofweek == 0) & (day.normalize().diff().dt.days > 0)
    ).tolist()[1:]
    assert months.count == 2 and (months.of == (day.month - 6)).all()


def test_what_a_week_has_in_common_is_in_the_interval_of_weeks_and_not_in_that_of_days() -> None:
    """The share of 90 % intervals that hold the truth, 0, of 400 half-years in which weeks have good and bad
    luck; chance moves a share of .88 by .016."""
    rows_of = table(4, days=182)
    drawn = {unit: units.of(rows_of, CONTRACT, unit) for unit in ("day", "week")}
    weights = {unit: found.weights(500, 1) for unit, found in drawn.items()}
    held, draw = dict.fromkeys(drawn, 0), np.random.default_rng(5)
    for _ in range(400):
        luck = draw.normal(0, 1, drawn["week"].count)[drawn["week"].of] + draw.normal(0, 1, len(rows_of))
        for unit, found in drawn.items():
            sums, counts = (np.bincount(found.of, weights=w) for w in (luck, np.ones(len(luck))))
            low, high = stats.interval(stats.mean(sums, counts, weights[unit]))
            held[unit] += low <= 0 <= high
    assert held["week"] / 400 > 0.82
    assert held["day"] / 400 < 0.75  # the negative control: days say 90 % of what they hold less often


def test_the_judge_draws_what_params_say_and_names_it(small_raw: pd.DataFrame) -> None:
    def said(first: str, unit: Any, **more: Any) -> Finding | None:
        window = rows.window(small_raw, first, CONTRACT, unit)
        return structure.days(Evidence(asking(unit, **more), PROBLEM, window=window))

    few, enough = said("2013-03-01", "week"), said("2013-01-28", "week")
    assert few is not None and few.verdict == "INCONCLUSIVE"
    assert few.sentence.endswith("and rows of 5 weeks alone: at least 7 are asked for.")
    assert (
        enough is not None and enough.verdict == "PASS" and enough.sentence.endswith("; 9 weeks are drawn.")
    )
    assert said("2013-03-01", "day").verdict == "PASS"  # type: ignore[union-attr]


def test_a_slice_needs_its_days_and_a_few_weeks() -> None:
    weeks = units.of(table(3, days=60), CONTRACT, "week")
    assert (weeks.least(10), weeks.least(5), units.of(table(3), CONTRACT, "day").least(10)) == (7, 5, 10)
    assert units.of(table(GROUPS), grouped(), "day").least(10) == 10


def test_one_unit_alone_has_no_interval() -> None:
    month = units.of(table(3, days=20), CONTRACT, "month")
    assert month.count == 1 and np.isnan(month.weights(10, 1)).all()


def test_groups_and_weeks_at_once_are_one_sentence(small_raw: pd.DataFrame) -> None:
    said = r"params\.yaml: gate\.unit is week, and van of columns\.py is a group: rows are drawn by one"
    with pytest.raises(UserError, match=said):
        rows.window(small_raw, "2013-03-01", grouped(), "week")


def test_another_unit_is_another_interval_and_so_no_unchanged_model() -> None:
    assert made_of(asking("week")) != made_of(asking("day")) == made_of(PARAMS)


def test_tune_draws_what_the_gate_draws_and_says_where_it_has_too_few(small_built: Path) -> None:
    prepared = training.load(small_built / training.PREPARED)
    weeks, months = (asking(unit).model_copy(update={"tune": Tune(folds=2)}) for unit in ("week", "month"))
    folds = tune.rolling_folds(weeks, prepared, CONTRACT)
    assert {fold.drawn.name for fold in folds} == {"weeks"}
    with pytest.raises(
        UserError, match=r"gate\.unit is month, and tune\.folds has \d of them: an interval needs 7"
    ):
        tune.rolling_folds(months, prepared, CONTRACT)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"carrier": True, "van": True}, "one column at most has group=True, not carrier, van"),
        ({"temperature": True}, "temperature: a group is a category, a text or an integer of the data files"),
    ],
)
def test_a_wrong_group_is_one_sentence(changes: dict[str, bool], said: str) -> None:
    def with_group(column: Column) -> Column:
        return replace(column, group=changes.get(column.name, False))

    with pytest.raises(ValueError, match=said):
        replace(CONTRACT, columns=tuple(map(with_group, CONTRACT.columns)))
