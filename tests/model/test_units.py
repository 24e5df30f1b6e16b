"""What belongs together is drawn together: days by default, the groups of columns.py where it has some."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipelines.core import stats, units
from pipelines.core.contract import Column, Contract
from pipelines.core.problem import Problem
from pipelines.judge import rows
from pipelines.judge.evidence import Evidence, Scored
from pipelines.judge.rules import slices, structure
from tests.problems.parcels import PARAMS, PROBLEM
from tests.problems.parcels.columns import CONTRACT

DAYS, GROUPS = 40, 30
TIME = CONTRACT.time.name


def grouped(contract: Contract = CONTRACT) -> Contract:
    """Each van is a group."""
    return replace(contract, columns=tuple(replace(c, group=c.name == "van") for c in contract.columns))


def table(groups: int) -> pd.DataFrame:
    """Rows of each group on each day."""
    days = pd.date_range("2013-06-01", periods=DAYS).repeat(groups)
    return pd.DataFrame({TIME: days, "van": [f"V{n}" for n in range(groups)] * DAYS})


def test_days_are_drawn_in_blocks_where_no_group_is_named() -> None:
    found = units.of(table(3), CONTRACT)
    assert (found.count, found.block) == (DAYS, stats.BLOCK)
    assert (found.of == np.repeat(np.arange(DAYS), 3)).all()
    assert (found.weights(50, 1) == stats.day_weights(DAYS, 50, 1)).all()


def test_what_a_group_has_in_common_is_in_the_interval() -> None:
    found = units.of(table(GROUPS), grouped())
    assert (found.count, found.block) == (GROUPS, 1)
    luck = np.random.default_rng(2).normal(0, 1, GROUPS)[found.of]  # of each group, the same on all days
    by_group, by_day = (
        (drawn.weights(2000, 1) @ np.bincount(drawn.of, weights=luck)) / len(luck)
        for drawn in (found, units.of(table(GROUPS), CONTRACT))
    )
    assert by_group.std() == pytest.approx(luck[:GROUPS].std() / np.sqrt(GROUPS), rel=0.1)
    assert by_day.std() < 1e-12  # the negative control: days alone would be sure of it


def test_more_groups_than_can_be_counted_in_pairs_are_dealt_out_and_spread_alike() -> None:
    many = 4 * units.MOST
    found = units.of(table(many), grouped())
    assert found.count == units.MOST and set(found.of) == set(range(units.MOST))
    assert all((found.of[n::many] == found.of[n]).all() for n in range(0, many, 97))  # a group stays together
    luck = np.random.default_rng(2).normal(0, 1, many)
    drawn = (found.weights(2000, 1) @ np.bincount(found.of, weights=np.tile(luck, DAYS))) / (many * DAYS)
    assert drawn.std() == pytest.approx(luck.std() / np.sqrt(many), rel=0.15)


def test_rows_without_a_group_belong_to_nobody() -> None:
    rows_of = table(3)
    rows_of.loc[[0, 4], "van"] = None
    found = units.of(rows_of, grouped())
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
    drawn = replace(units.of(rows_of, contract), block=1)
    day = units.of(rows_of, CONTRACT)
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
    assert "lonely" in judged(replace(window, groups=None))


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
