"""The files of data/: one a month, with the raw columns of the contract. Written once, read strictly."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.core import tables
from pipelines.core.contract import Contract

DATA = Path("data")
WAY_OUT = "correct it in pipelines/problem/source.py, then `ml ingest` writes the month again"


def read(folder: Path | str, first: str, last: str, contract: Contract) -> pd.DataFrame:
    """The rows of the months `first` to `last`, in order: times as datetime64, flags as nullable boolean,
    numbers as float64, integers as int64 (float64 where one is missing), texts as str.

    UserError, with file, column and row, for a month without a file, a missing or unknown column, a column
    of another type, a file that is cut off, a row of another month, or a key that is there twice."""
    months = [_read_month(path(folder, month), month, contract) for month in between(first, last)]
    table = pd.concat(months, ignore_index=True)
    keys, time = table[contract.key.name], table[contract.time.name]
    if (twice := keys.duplicated()).any():
        again = _row(twice) - 1
        here, there = (place(folder, time, row) for row in (again, _row(keys == keys[again]) - 1))
        raise UserError(f"{here}: {keys.name} {keys[again]!r:.80} is already in {there}: {WAY_OUT}")
    return table


def between(first: str, last: str) -> list[str]:
    """The months from `first` to `last`, both included: ["2013-01", "2013-02"]."""
    return [str(month) for month in pd.period_range(first, last, freq="M")]


def within(time: pd.Series, first: str, last: str) -> pd.Series:
    """Which of the times are in the months `first` to `last`."""
    return (time >= pd.Timestamp(first)) & (time < pd.Timestamp(last) + pd.DateOffset(months=1))


def names(time: pd.Series) -> np.ndarray:
    """The month of each time, such as 2013-06: (n,), ten times as fast as strftime."""
    return time.to_numpy().astype("datetime64[M]").astype(str).astype(object)


def path(folder: Path | str, month: str) -> Path:
    return Path(folder) / f"{month}.parquet"


def place(folder: Path | str, time: pd.Series, row: int) -> str:
    """File and row of a row of what `read` gave, whose times are `time`."""
    month = time.dt.strftime("%Y-%m")
    before = int((month.iloc[:row] == month.iloc[row]).sum())
    return f"{path(folder, month.iloc[row])}, row {before + 1}"


def _read_month(file: Path, month: str, contract: Contract) -> pd.DataFrame:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        way_out = "`ml restore` brings data/ back, `ml ingest` makes a month"
        raise UserError(f"{file} does not exist: {way_out}") from None
    return checked(tables.decoded(content, file, tables.schema(contract)), str(file), month, contract)


def checked(table: pa.Table, where: str, month: str, contract: Contract) -> pd.DataFrame:
    """The rows of a table that has the columns and types of a data file, as `read` gives them. UserError,
    which begins with `where`, for a row that `month` cannot have."""
    for column in contract.raw:
        values = table[column.name]
        wrong: Any = pa.nulls(0, pa.bool_())
        if column.type == "number":
            wrong, must = pc.invert(pc.is_finite(values)), "be a finite number, or missing"
        elif column.type in ("text", "category"):
            wrong, must = pc.or_(*(pc.match_substring(values, end) for end in "\r\n")), "have no line breaks"
        if (found := pc.index(wrong, True).as_py()) >= 0:
            wrong = f"{column.name} is {values[found].as_py()!r:.80}, but must {must}"
            raise UserError(f"{where}, row {found + 1}: {wrong}: {WAY_OUT}")
        if (column.key or column.time) and values.null_count:
            gap = pc.index(values.is_null(), True).as_py() + 1
            wrong = f"{column.name} has no value, and every row needs one"
            raise UserError(f"{where}, row {gap}: {wrong}: {WAY_OUT}")
    rows = tables.frame(table)
    keys, time = rows[contract.key.name], rows[contract.time.name]
    if (elsewhere := ~within(time, month, month)).any():
        row = _row(elsewhere)
        raise UserError(f"{where}, row {row}: {time.name} is {time[row - 1]}, not in {month}: {WAY_OUT}")
    if (twice := keys.duplicated()).any():
        row = _row(twice)
        wrong = f"{keys.name} {keys[row - 1]!r:.80} is already in row {_row(keys == keys[row - 1])}"
        raise UserError(f"{where}, row {row}: {wrong}: {WAY_OUT}")
    return rows


def _row(rows: pd.Series) -> int:
    return int(rows.to_numpy().argmax()) + 1
