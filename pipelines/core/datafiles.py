"""The files of data/: one a period, with the raw columns of the contract. Written once, read strictly."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.core import periods, tables
from pipelines.core.contract import Contract

DATA = Path("data")
WAY_OUT = "correct it in pipelines/problem/source.py, then `ml ingest` writes the file again"


def read(folder: Path | str, first: str, last: str, contract: Contract) -> pd.DataFrame:
    """The rows of the periods `first` to `last`, in order: times as datetime64, flags as nullable boolean,
    numbers as float64, integers as int64 (float64 where one is missing), texts as str.

    UserError, with file, column and row, for a period without a file, a missing or unknown column, a column
    of another type, a file that is cut off, a row of another period, or a key that is there twice."""
    parts = [_read_period(path(folder, name), name, contract) for name in periods.between(first, last)]
    table = pd.concat(parts, ignore_index=True)
    keys, time = table[contract.key.name], table[contract.time.name]
    if (twice := keys.duplicated()).any():
        again = _row(twice) - 1
        here, there = (place(folder, time, row, first) for row in (again, _row(keys == keys[again]) - 1))
        raise UserError(f"{here}: {keys.name} {keys[again]!r:.80} is already in {there}: {WAY_OUT}")
    return table


def path(folder: Path | str, name: str) -> Path:
    return Path(folder) / f"{name}.parquet"


def place(folder: Path | str, time: pd.Series, row: int, like: str) -> str:
    """File and row of a row of what `read` gave, whose times are `time`, from periods such as `like`."""
    name = periods.names(time.iloc[: row + 1], like)
    return f"{path(folder, name[row])}, row {int((name == name[row]).sum())}"


def _read_period(file: Path, name: str, contract: Contract) -> pd.DataFrame:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        way_out = "`ml restore` brings data/ back, `ml ingest` makes it"
        raise UserError(f"{file} does not exist: {way_out}") from None
    return checked(tables.decoded(content, file, tables.schema(contract)), str(file), name, contract)


def checked(table: pa.Table, where: str, period: str, contract: Contract) -> pd.DataFrame:
    """The rows of a table that has the columns and types of a data file, as `read` gives them. UserError,
    which begins with `where`, for a row that the `period` cannot have."""
    for column in contract.raw:
        values = table[column.name]
        wrong: Any = pa.nulls(0, pa.bool_())
        if column.type == "number":
            wrong, must = pc.invert(pc.is_finite(values)), "be a finite number, or missing"
        elif column.is_text:
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
    if (elsewhere := ~periods.within(time, period, period)).any():
        row = _row(elsewhere)
        raise UserError(f"{where}, row {row}: {time.name} is {time[row - 1]}, not in {period}: {WAY_OUT}")
    if (twice := keys.duplicated()).any():
        row = _row(twice)
        wrong = f"{keys.name} {keys[row - 1]!r:.80} is already in row {_row(keys == keys[row - 1])}"
        raise UserError(f"{where}, row {row}: {wrong}: {WAY_OUT}")
    return rows


def _row(rows: pd.Series) -> int:
    return int(rows.to_numpy().argmax()) + 1
