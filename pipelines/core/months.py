"""The files of data/: one a month, with the raw columns of the contract. Written once, read strictly."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import tables
from pipelines.core.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

DATA = Path("data")


def read(folder: Path | str, first: str, last: str, contract: Contract) -> pd.DataFrame:
    """The rows of the months `first` to `last`, in order: times as datetime64, flags as nullable boolean,
    numbers as float64, integers as int64 (float64 where one is missing), texts as str.

    UserError, with file, column and row, for a month without a file, a missing or unknown column, a column
    of another type, a file that is cut off, a row of another month, or a key that stands twice.
    """
    table = pd.concat(
        [_read_month(path(folder, month), month, contract) for month in between(first, last)],
        ignore_index=True,
    )
    key = contract.key.name
    if (twice := table[key].duplicated()).any():
        raise UserError(
            f"{folder}: {key} {table[key][twice].iloc[0]!r} stands in more than one row of {first} to {last}"
        )
    return table


def between(first: str, last: str) -> list[str]:
    """The months from `first` to `last`, both included: ["2013-01", "2013-02"]."""
    return [str(month) for month in pd.period_range(first, last, freq="M")]


def within(time: pd.Series, first: str, last: str) -> pd.Series:
    """Which of the times are in the months `first` to `last`."""
    return (time >= pd.Timestamp(first)) & (time < pd.Timestamp(last) + pd.DateOffset(months=1))


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
        raise UserError(
            f"{file} does not exist: `ml restore` brings data/ back, `ml ingest` makes a month"
        ) from None
    return checked(tables.decoded(content, file, tables.schema(contract)), str(file), month, contract)


def checked(table: "pa.Table", where: str, month: str, contract: Contract) -> pd.DataFrame:
    """The rows of a table that has the columns and types of a data file, as `read` gives them. UserError for
    a row that `month` cannot have, which begins with `where`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for column in contract.raw:
        values = table[column.name]
        wrong: Any = pa.nulls(0, pa.bool_())
        if column.type == "number":
            wrong, must = pc.invert(pc.is_finite(values)), "be a finite number, or missing"
        elif column.type in ("text", "category"):
            wrong, must = pc.or_(*(pc.match_substring(values, end) for end in "\r\n")), "have no line breaks"
        if (found := pc.index(wrong, True).as_py()) >= 0:
            raise UserError(
                f"{where}, row {found + 1}: {column.name} is {values[found].as_py()!r:.80}, but must {must}"
            )
        if (column.key or column.time) and values.null_count:
            gap = pc.index(values.is_null(), True).as_py()
            raise UserError(f"{where}, row {gap + 1}: {column.name} has no value, and every row needs one")
    rows = tables.frame(table)
    if (elsewhere := ~within(rows[contract.time.name], month, month)).any():
        raise UserError(f"{where}, row {_row(elsewhere)}: {contract.time.name} is not in {month}")
    keys = rows[contract.key.name]
    if (twice := keys.duplicated()).any():
        again = _row(twice)
        first = _row(keys == keys[again - 1])
        raise UserError(
            f"{where}, row {again}: {contract.key.name} {keys[again - 1]!r:.80} stands in row {first} already"
        )
    return rows


def _row(rows: pd.Series) -> int:
    return int(rows.to_numpy().argmax()) + 1
