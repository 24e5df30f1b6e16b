"""Great Expectations holds each month against the contract, and refuses a bad one for its own reason."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.base.errors import Refused, UserError
from pipelines.core import datafiles, periods, tables
from pipelines.core.params import Params
from pipelines.training import table, train, validate
from tests.months import write_month
from tests.problems.parcels import PROBLEM, source
from tests.problems.parcels.columns import CONTRACT

MONTH, LATER = source.months()[:2]
RANGED = next(c for c in CONTRACT.raw if c.type == "number" and c.maximum is not None)
Rows = pd.DataFrame


@pytest.fixture(scope="module")
def month(small_raw: Rows) -> Rows:
    """A tenth of a month, with rows on each of its days."""
    rows = small_raw[periods.within(small_raw[CONTRACT.time.name], MONTH, MONTH)]
    return rows.iloc[::10].reset_index(drop=True)


def failed(table: Rows, docs: Path, other: Rows | None = None) -> list[str]:
    """What is wrong with MONTH, beside another month that tells how often events come."""
    beside = {} if other is None else {LATER: _a_month_later(other)}
    results = validate.expect({MONTH: table} | beside, docs, CONTRACT)
    return [validate.sentence(result, Path("data")) for result in results if not result.success]


def _a_month_later(rows: Rows) -> Rows:
    """The rows with their days in LATER, which has fewer."""
    moved = rows.assign(**{CONTRACT.time.name: rows[CONTRACT.time.name] + pd.Timedelta(days=31)})
    return moved[moved[CONTRACT.time.name].dt.strftime("%Y-%m") == LATER]


def out_of_range(rows: Rows) -> Rows:
    return rows.assign(**{RANGED.name: rows[RANGED.name].where(rows.index % 10 != 0, RANGED.maximum * 2)})


def half_missing(rows: Rows) -> Rows:
    return rows.assign(**{RANGED.name: rows[RANGED.name].where(rows.index % 2 == 0)})


def no_rows(rows: Rows) -> Rows:
    return rows.head(0)


def week_lost(rows: Rows) -> Rows:
    return rows[rows[CONTRACT.time.name].dt.day > 7]


def key_twice(rows: Rows) -> Rows:
    return pd.concat([rows, rows.head(1)], ignore_index=True)


def column_lost(rows: Rows) -> Rows:
    return rows.drop(columns=RANGED.name)


def test_a_good_month_holds_and_is_shown(month: Rows, tmp_path: Path) -> None:
    assert failed(month, tmp_path) == []
    assert "<html" in (tmp_path / "index.html").read_text()


def test_a_few_impossible_values_are_let_through(small_raw: Rows, tmp_path: Path) -> None:
    rows = small_raw[periods.within(small_raw[CONTRACT.time.name], MONTH, MONTH)].reset_index(drop=True)
    few = len(rows) // 2000
    values = rows[RANGED.name].where(rows.index >= few, RANGED.maximum * 2)
    assert failed(rows.assign(**{RANGED.name: values}), tmp_path) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (out_of_range, f"data/{MONTH}.parquet: expected {RANGED.name} to be from"),
        (
            half_missing,
            f"expected {RANGED.name} to be there in 100.0% of the rows; 50.0% of the values are not",
        ),
        (week_lost, f"expected day of {CONTRACT.time.name} to have rows on 29 days or more; found 24"),
        (no_rows, f"expected day of {CONTRACT.time.name} to have rows on 29 days or more; found 0"),
        (key_twice, f"expected {CONTRACT.key.name} to be unique"),
        (column_lost, "expected the columns to be those of columns.py, in that order"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_month_is_refused_for_its_own_reason(
    month: Rows, tmp_path: Path, spoil: Callable[[Rows], Rows], said: str
) -> None:
    sentences = failed(spoil(month), tmp_path, other=month)
    assert sentences and said in sentences[0]


# --- how often events come --------------------------------------------------------------------------------


def days(*dates: str) -> pd.Series:
    return pd.Series(pd.to_datetime(list(dates)))


def each(month: str, freq: str) -> pd.Series:
    return pd.Series(pd.date_range(month, pd.Period(month).end_time, freq=freq))


@pytest.mark.parametrize(
    ("january", "february", "least"),
    [
        (each("2013-01", "D"), each("2013-02", "D")[:20], (29, 26)),
        (each("2013-01", "B"), each("2013-02", "B")[:10], (21, 18)),
        (each("2013-01", "W-MON"), each("2013-02", "W-MON"), (2, 2)),
        (
            days("2013-01-02", "2013-01-12", "2013-01-25", "2013-01-30"),
            days("2013-02-04", "2013-02-21"),
            (2, 2),
        ),
        (days("2013-01-02", "2013-01-12"), days(), (1, 1)),
    ],
    ids=["daily", "on weekdays", "weekly", "now and then", "a month without any"],
)
def test_a_month_is_held_to_the_days_on_which_events_come(
    january: pd.Series, february: pd.Series, least: tuple[int, int]
) -> None:
    found = validate.least_days({"2013-01": january, "2013-02": february.astype("datetime64[ns]")})
    assert tuple(found.values()) == least


# --- both answers -----------------------------------------------------------------------------------------


def labelled(small_raw: Rows, months_with: list[str]) -> Rows:
    """A few rows a month; the label is true in the first row of each of these months and false elsewhere."""
    month = small_raw[CONTRACT.time.name].dt.strftime("%Y-%m")
    rows = small_raw.groupby(month).head(5)
    true = ~month[rows.index].duplicated() & month[rows.index].isin(months_with)
    return rows.assign(**{CONTRACT.label.name: true.astype("boolean")})


def test_a_month_without_an_event_is_no_fault(small_raw: Rows, small_params: Params) -> None:
    names = periods.between(small_params.data.first, small_params.data.through)
    table.both_answers(
        small_params, labelled(small_raw, [names[0], names[2]]), CONTRACT
    )  # none in the second


@pytest.mark.parametrize(
    ("with_events", "said"),
    [
        (
            [0, 1],
            "{label} is always false in the months after {last} (5 rows), and to judge the model by both",
        ),
        ([2], "{label} is always false in {first} to {last} (10 rows), and to train on both true and false"),
    ],
    ids=["test window", "training window"],
)
def test_a_window_without_an_event_is_named_before_the_long_work(
    small_raw: Rows,
    small_params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_events: list[int],
    said: str,
) -> None:
    names = periods.between(small_params.data.first, small_params.data.through)
    rows = labelled(small_raw, [names[place] for place in with_events])
    prepared = tables.write(tmp_path / "prepared.parquet", rows)
    now = small_params.train
    sentence = said.format(label=CONTRACT.label.name, first=now.first, last=now.last)
    monkeypatch.setattr(train, "fit_pipeline", lambda *_: pytest.fail("the training has begun"))
    with pytest.raises(UserError, match=re.escape(sentence)):
        train.run(small_params, PROBLEM, prepared, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_window_without_labels_is_named(small_raw: Rows, small_params: Params) -> None:
    rows = labelled(small_raw, periods.between(small_params.data.first, small_params.data.through))
    later = rows[CONTRACT.time.name] >= pd.Timestamp(small_params.data.through)
    with pytest.raises(UserError, match=f"{CONTRACT.label.name} has no value in the months after"):
        table.both_answers(
            small_params,
            rows.assign(**{CONTRACT.label.name: rows[CONTRACT.label.name].mask(later)}),
            CONTRACT,
        )


def test_the_stage_refuses_and_leaves_no_result(
    small_data: Path, small_params: Params, tmp_path: Path
) -> None:
    first, *_, last = periods.between(small_params.data.first, small_params.data.through)
    for name in periods.between(first, last):
        table = datafiles.read(small_data, name, name, CONTRACT).iloc[::20]
        write_month(tmp_path / "data", name, table)
    validate.run(small_params, PROBLEM, tmp_path / "data", tmp_path / "build")
    once = (tmp_path / "build/validation.json").read_bytes()
    validate.run(small_params, PROBLEM, tmp_path / "data", tmp_path / "build")
    assert (tmp_path / "build/validation.json").read_bytes() == once  # or nothing after it could be skipped
    assert json.loads(once)["success"] is True

    table = datafiles.read(tmp_path / "data", last, last, CONTRACT)
    spoilt = table.assign(**{RANGED.name: np.where(table.index % 3, 1e9, RANGED.minimum)})
    write_month(tmp_path / "data", last, spoilt)
    (tmp_path / "build/validation.json").unlink()
    with pytest.raises(Refused, match=rf"{last}\.parquet: expected {RANGED.name} to be from"):
        validate.run(small_params, PROBLEM, tmp_path / "data", tmp_path / "build")
    assert not (tmp_path / "build/validation.json").exists()


def test_what_no_expectation_of_ours_calls_is_imported_where_another_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    validate.great_expectations()
    assert all(sys.modules.get(name, sys) is not None for name in validate.WITHOUT)
    later = validate._Later("colorsys")
    monkeypatch.setitem(sys.modules, "colorsys", later)
    from colorsys import rgb_to_hsv

    assert rgb_to_hsv(0, 0, 1)[2] == 1 and later.ONE_THIRD == sys.modules["colorsys"].ONE_THIRD
    assert sys.modules["colorsys"] is not later
