"""The files of data/: one CSV a month, with the raw columns of the contract. Written once, read strictly."""

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core.contract import Column, Contract
from pipelines.problem.columns import CONTRACT

if TYPE_CHECKING:
    import pyarrow as pa

DATA = Path("data")
MINUTE = "%Y-%m-%d %H:%M"
WORDS = {
    "time": "a time as 2013-01-31 05:15",
    "flag": "true or false",
    "integer": "a whole number",
    "number": "a number",
}


def read(folder: Path | str, first: str, last: str, contract: Contract = CONTRACT) -> pd.DataFrame:
    """The rows of the months `first` to `last`, in order: times as datetime64, flags as nullable boolean,
    numbers as float64, integers as int64 (float64 where one is missing), texts as str.

    UserError, with file, column and line, for a month without a file, a missing or unknown column, a value
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
    """Which of the times lie in the months `first` to `last`."""
    return (time >= pd.Timestamp(first)) & (time < pd.Timestamp(last) + pd.DateOffset(months=1))


def path(folder: Path | str, month: str) -> Path:
    return Path(folder) / f"{month}.csv"


def to_csv(table: pd.DataFrame, contract: Contract = CONTRACT) -> bytes:
    """The one way in which rows become a file: contract's order of columns, sorted by time then key."""
    table = table.sort_values([contract.time.name, contract.key.name], kind="stable")
    texts = pd.DataFrame({column.name: _texts(table[column.name], column) for column in contract.raw})
    return texts.to_csv(index=False, lineterminator="\n").encode()


def _texts(values: pd.Series, column: Column) -> pd.Series:
    if column.type == "time":
        if (values != values.dt.floor("min")).any():
            raise ValueError("a time with seconds or without a value")
        return values.dt.strftime(MINUTE)
    if column.type == "flag":
        return values.astype("boolean").map({True: "true", False: "false"})
    if column.type == "integer":
        return values.astype("Int64")
    if column.type == "number":
        return values.astype("float64")  # written by repr: the shortest text that reads back as the same
    texts = values.astype("str")
    if (broken := texts.str.contains(r"[\r\n]").fillna(False).to_numpy(dtype=bool)).any():
        row = int(broken.argmax())
        raise ValueError(
            f"{column.name} is {texts.iloc[row]!r} (line {row + 2}), and a value has no line breaks"
        )
    return texts


def _read_month(file: Path, month: str, contract: Contract) -> pd.DataFrame:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{file} does not exist: `ml restore` brings data/ back, `ml ingest` makes a month"
        ) from None
    return parse(content, file, month, contract)


def parse(content: bytes, file: Path, month: str, contract: Contract = CONTRACT) -> pd.DataFrame:
    """The rows of `content`, which is, or will be, that of `file`: see `read`."""
    parsed = _parse(content, file, contract)
    _finite(parsed, file, contract)
    table = parsed.to_pandas(date_as_object=False)
    for column in contract.raw:
        if column.type == "flag":
            table[column.name] = table[column.name].astype("boolean")
        elif column.type in ("text", "category"):
            table[column.name] = table[column.name].astype("str")
        if (column.key or column.time) and (gap := table[column.name].isna()).any():
            raise UserError(f"{file}, line {_line(gap)}: {column.name} has no value, and every row needs one")
    elsewhere = ~within(table[contract.time.name], month, month)
    if elsewhere.any():
        raise UserError(f"{file}, line {_line(elsewhere)}: {contract.time.name} is not in {month}")
    twice = table[contract.key.name].duplicated()
    if twice.any():
        key = table[contract.key.name][twice].iloc[0]
        raise UserError(f"{file}, line {_line(twice)}: {contract.key.name} {key!r} stands there already")
    return table


def _line(rows: pd.Series) -> int:
    return int(rows.to_numpy().argmax()) + 2  # the header is line 1


def place(folder: Path | str, time: pd.Series, row: int, contract: Contract = CONTRACT) -> str:
    """File and line of a row of what `read` gave, whose times are `time`."""
    month = time.dt.strftime("%Y-%m")
    before = int((month.iloc[:row] == month.iloc[row]).sum())
    return f"{path(folder, month.iloc[row])}, line {before + 2}"


def _finite(table: "pa.Table", file: Path, contract: Contract) -> None:
    """UserError for inf, -inf and nan, which are numbers to Arrow: a missing value is an empty one."""
    import pyarrow.compute as pc

    for column in contract.raw:
        if column.type == "number":
            values = table[column.name]
            if (wrong := pc.fill_null(pc.invert(pc.is_finite(values)), False).to_numpy()).any():
                row = int(wrong.argmax())
                raise UserError(
                    f"{file}, line {row + 2}: {column.name} is {values[row].as_py()}, but must be a "
                    "finite number, or empty where it is missing"
                )


def _line_break(content: bytes, file: Path, contract: Contract) -> None:
    """UserError for a carriage return that ends no line, which Arrow takes for the end of one."""
    if found := re.search(rb"\r(?!\n)", content):
        before = content[: found.start()]
        field = (
            len(next(csv.reader([before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")]), [""])) - 1
        )
        name = contract.raw[min(field, len(contract.raw) - 1)].name
        line = before.count(bytes([10])) + 1
        raise UserError(
            f"{file}, line {line}: {name} holds a carriage return, and a value has no line breaks: "
            "pipelines/problem/source.py must replace it"
        )


def _parse(content: bytes, file: Path, contract: Contract) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv as arrow

    _line_break(content, file, contract)
    if not content.endswith(b"\n"):
        raise UserError(f"{file} is cut off: its last line has no end; `rm {file}` and `ml restore`")
    names = [column.name for column in contract.raw]
    header = content[: content.index(b"\n")].decode("utf-8", "replace").rstrip("\r").split(",")
    if missing := [name for name in names if name not in header]:
        raise UserError(
            f"{file}: the column {missing[0]} is missing; pipelines/problem/columns.py asks for it"
        )
    if unknown := [name for name in header if name not in names]:
        raise UserError(f"{file}: the column {unknown[0]!r} is not in pipelines/problem/columns.py")
    if header != names:
        raise UserError(
            f"{file}: the columns are not in the order of pipelines/problem/columns.py ({', '.join(names)})"
        )
    kinds = {
        "time": pa.timestamp("us"),
        "flag": pa.bool_(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "text": pa.string(),
        "category": pa.string(),
    }
    try:
        return arrow.read_csv(
            io.BytesIO(content),
            # In one block and one thread, or an error does not know its line.
            read_options=arrow.ReadOptions(use_threads=False, block_size=len(content) + 1),
            convert_options=arrow.ConvertOptions(
                column_types={column.name: kinds[column.type] for column in contract.raw},
                timestamp_parsers=[MINUTE],
                true_values=["true"],
                false_values=["false"],
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise UserError(_sentence(file, str(error), contract)) from None


def _sentence(file: Path, error: str, contract: Contract) -> str:
    if found := re.search(r"CSV column #(\d+): Row #(\d+): .*invalid value '(.*)'", error, re.DOTALL):
        column = contract.raw[int(found[1])]
        return f"{file}, line {found[2]}: {column.name} is {found[3]!r}, but must be {WORDS[column.type]}"
    if found := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", error):
        return f"{file}, line {found[1]}: has {found[3]} values, but there are {found[2]} columns"
    return f"{file} is no CSV file as `ml ingest` writes it ({' '.join(error.split())[:120]})"
