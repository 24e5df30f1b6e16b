"""The one road for rows: read, sorted, with the history that features.py looks back on, made into features.

A row's features are the same whichever room asks, the first of a month included.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import coercion, months, room
from pipelines.core.contract import Column, Contract

if TYPE_CHECKING:
    import pyarrow as pa

Read = Callable[[str], pd.DataFrame]  # the raw rows of a month, as its file holds them
Build = Callable[[pd.DataFrame], pd.DataFrame]  # of features.py
FEATURES = "pipelines/problem/features.py"


def of_month(
    month: str, known: Sequence[str], read: Read, build: Build, history: int, contract: Contract
) -> pd.DataFrame:
    """The rows of `month` with their features; `known` are the months that `read` can give.

    As many days before the month are read as features.py says it looks back, its HISTORY_DAYS; they help to
    make the features and are not among the rows.
    """
    first = pd.Timestamp(month)
    before = (first - pd.Timedelta(days=history)).strftime("%Y-%m")
    parts = [read(name) for name in sorted({*known, month}) if before <= name <= month]
    raw = in_order(pd.concat(parts, ignore_index=True), contract)
    return _since(raw, first, build, history, contract)


def typed(table: pd.DataFrame, month: str, contract: Contract) -> "pa.Table":
    """What the source gives of a month as its file has it: the contract's columns and types, in order.
    UserError, with column and row, where it does not fit columns.py.
    """
    where = f"pipelines/problem/source.py: {month}"
    found = coercion.typed(table, where, contract)
    months.checked(found, where, month, contract)
    return found.sort_by([(name, "ascending") for name in _order(contract)])


def in_order(raw: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Sorted by time and key, as data files are."""
    return raw.sort_values(_order(contract), kind="stable", ignore_index=True)


def _order(contract: Contract) -> list[str]:
    return [contract.time.name, contract.key.name]


def built(raw: pd.DataFrame, build: Build, contract: Contract) -> pd.DataFrame:
    """`raw`, which is in order, with what features.py makes of it. UserError where it loses or moves rows, or
    leaves a column out.
    """
    rows = room.call(build, raw)
    if not isinstance(rows, pd.DataFrame):
        raise UserError(f"{FEATURES}: build() must return a table, not {type(rows).__name__}")
    key = contract.key.name
    if len(rows) != len(raw) or key not in rows or not rows[key].equals(raw[key]):
        raise UserError(f"{FEATURES}: build() must keep the rows and their order")
    wanted = (contract.time, contract.label, *contract.slices, *contract.features)
    if absent := [column.name for column in wanted if column.name not in rows.columns]:
        raise UserError(f"{FEATURES}: build() makes no {absent[0]}, which columns.py calls a feature")
    return rows


def history_days(features: object) -> int:
    """HISTORY_DAYS of features.py: so many days before a row it looks back; 0 where it does not say."""
    days = getattr(features, "HISTORY_DAYS", 0)
    if not isinstance(days, int) or isinstance(days, bool) or days < 0:
        raise UserError(f"{FEATURES}: HISTORY_DAYS is {days!r}, but must be a whole number of days from 0")
    return days


def check_history(
    raw: pd.DataFrame, rows: pd.DataFrame, build: Build, history: int, contract: Contract
) -> None:
    """UserError where a month's features, made of no more than its history, are others than in `rows`, which
    were made of all that is there: production would see them otherwise than training.
    """
    time = raw[contract.time.name].reset_index(drop=True)
    month = time.dt.strftime("%Y-%m")
    raw, rows = raw.reset_index(drop=True), rows.reset_index(drop=True)
    for name in sorted(month.unique())[1:]:
        whole = rows[month == name].reset_index(drop=True)
        until = raw[time < pd.Timestamp(name) + pd.DateOffset(months=1)]
        alone = _since(until, pd.Timestamp(name), build, history, contract)
        for column in contract.derived:
            if (
                column.name in whole
                and (other := ~_same(column, whole[column.name], alone[column.name])).any()
            ):
                row = int(other.argmax())
                raise UserError(
                    f"{FEATURES}: {column.name} of {whole[contract.key.name].iloc[row]!r} is "
                    f"{whole[column.name].iloc[row]}, and {alone[column.name].iloc[row]} where nothing older "
                    f"than {history} days is known: set HISTORY_DAYS to as many days as build() looks back"
                )


def _since(
    raw: pd.DataFrame, first: pd.Timestamp, build: Build, history: int, contract: Contract
) -> pd.DataFrame:
    time = raw[contract.time.name]
    rows = built(raw[time >= first - pd.Timedelta(days=history)].reset_index(drop=True), build, contract)
    return rows[rows[contract.time.name] >= first].reset_index(drop=True)


def _same(column: Column, one: pd.Series, other: pd.Series) -> np.ndarray:
    if column.type in ("integer", "number", "flag"):
        a, b = (
            values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan) for values in (one, other)
        )
        return np.isclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
    return ((one == other) | (one.isna() & other.isna())).to_numpy(dtype=bool)
