"""What features.py of a problem makes of raw rows, held to what it says of itself."""

from datetime import datetime

import numpy as np
import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import periods, room
from pipelines.core.contract import Column
from pipelines.core.problem import Problem

FILE = "pipelines/problem/features.py"


def built(raw: pd.DataFrame, problem: Problem) -> pd.DataFrame:
    """`raw`, which is in order, with what features.py makes of it. UserError where it loses or moves rows,
    leaves a column out, or makes other values than numbers where columns.py says so."""
    contract = problem.contract
    rows = room.call(problem.features.build, raw)
    if not isinstance(rows, pd.DataFrame):
        raise UserError(f"{FILE}: build() must return a table, not {type(rows).__name__}")
    key = contract.key.name
    if len(rows) != len(raw) or key not in rows or not rows[key].equals(raw[key]):
        way_out = f"return {key} as it was given (a merge needs how='left', and one match at most)"
        raise UserError(f"{FILE}: build() must keep the rows and their order: {way_out}")
    wanted = (contract.time, contract.label, *contract.slices, *contract.groups, *contract.features)
    if absent := [column.name for column in wanted if column.name not in rows.columns]:
        raise UserError(f"{FILE}: build() returns no {absent[0]}, which columns.py has: make it there")
    for column in contract.derived:
        if not column.is_text and column.type != "time" and column.name in rows:
            _check_numbers(rows[column.name], column)
    return rows


def _check_numbers(values: pd.Series, column: Column) -> None:
    wrong = pd.to_numeric(values, errors="coerce").isna() & values.notna()
    if wrong.any():
        what = f"{values[wrong].iloc[0]!r:.80}, but must be a number, as columns.py says"
        raise UserError(f"{FILE}: build() makes {column.name} {what}")


def since(first: datetime, raw: pd.DataFrame, problem: Problem) -> pd.DataFrame:
    """The rows of the day `first` and after it with their features, made of no more than their history."""
    time = problem.contract.time.name
    history = pd.Timedelta(days=history_days(problem))
    rows = built(raw[raw[time] >= first - history].reset_index(drop=True), problem)
    return rows[rows[time] >= first].reset_index(drop=True)


def history_days(problem: Problem) -> int:
    """HISTORY_DAYS of features.py: so many days before a row it looks back; 0 where it does not say."""
    days = getattr(problem.features, "HISTORY_DAYS", 0)
    if not isinstance(days, int) or isinstance(days, bool) or days < 0:
        raise UserError(f"{FILE}: HISTORY_DAYS is {days!r}, but must be a whole number of days from 0")
    return days


def check_history(raw: pd.DataFrame, rows: pd.DataFrame, problem: Problem) -> None:
    """UserError where a month's features, made of no more than its history, are others than in `rows`, which
    were made of all that is there: production would see them otherwise than training."""
    contract = problem.contract
    time = raw[contract.time.name].reset_index(drop=True)
    month = periods.months(time)
    raw, rows = raw.reset_index(drop=True), rows.reset_index(drop=True)
    for name in sorted(set(month))[1:]:
        whole = rows[month == name].reset_index(drop=True)
        until = raw[time < periods.end(name)]
        alone = since(pd.Timestamp(name), until, problem)
        for column in (column for column in contract.derived if column.name in whole):
            if (other := ~same(column, whole[column.name], alone[column.name])).any():
                row = int(other.argmax())
                raise UserError(
                    f"{FILE}: {column.name} of {whole[contract.key.name].iloc[row]!r} is "
                    f"{whole[column.name].iloc[row]}, and {alone[column.name].iloc[row]} where nothing older "
                    f"than {history_days(problem)} days is known: set HISTORY_DAYS to as many days as "
                    "build() looks back"
                )


def same(column: Column, one: pd.Series, other: pd.Series) -> np.ndarray:
    """Which values of a column are the same in both, but for how numbers are rounded: (n,) bool."""
    if column.type in ("integer", "number", "flag"):
        a, b = (v.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan) for v in (one, other))
        return np.isclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
    return ((one == other) | (one.isna() & other.isna())).to_numpy(dtype=bool)
