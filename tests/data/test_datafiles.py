"""A bad data file is refused in one sentence, with file, column and row where they can be known."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.base.errors import UserError
from pipelines.core import datafiles, periods, rows, tables
from pipelines.core.contract import Column
from tests.problems.parcels import source
from tests.problems.parcels.columns import CONTRACT

MONTH = source.months()[0]
NAMES = [column.name for column in CONTRACT.raw]


def first_of(kind: str) -> Column:
    return next(column for column in CONTRACT.raw if column.type == kind)


NUMBER, CATEGORY = first_of("number"), first_of("category")


@pytest.fixture
def table(small_data: Path) -> pa.Table:
    """The first rows of a month's file."""
    return pq.read_table(small_data / f"{MONTH}.parquet").slice(0, 7)


def write(folder: Path, content: pa.Table | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{MONTH}.parquet"
    file.write_bytes(content if isinstance(content, bytes) else tables.encoded(content))
    return file


def read(folder: Path, content: pa.Table | bytes) -> str:
    """The sentence with which a file of this content is refused."""
    write(folder, content)
    with pytest.raises(UserError) as error:
        datafiles.read(folder, MONTH, MONTH, CONTRACT)
    assert "\n" not in str(error.value)
    return str(error.value)


def with_value(table: pa.Table, column: Column, row: int, value: Any) -> pa.Table:
    values = table[column.name].to_pylist()
    values[row] = value
    kind = table.schema.field(column.name)
    return table.set_column(table.schema.get_field_index(column.name), kind, pa.array(values, kind.type))


def test_a_good_file_is_read_with_its_types(tmp_path: Path, table: pa.Table) -> None:
    write(tmp_path, table)
    found = datafiles.read(tmp_path, MONTH, MONTH, CONTRACT)
    assert len(found) == len(table)
    assert found[CONTRACT.time.name].dtype.kind == "M"
    assert found[CONTRACT.label.name].dtype == "boolean"
    assert found[NUMBER.name].dtype == "float64"
    assert found[CATEGORY.name].dtype == "str"


def test_what_is_missing_is_missing(tmp_path: Path, table: pa.Table) -> None:
    table = with_value(with_value(table, NUMBER, 0, None), CONTRACT.label, 0, None)
    write(tmp_path, with_value(table, CATEGORY, 0, None))
    found = datafiles.read(tmp_path, MONTH, MONTH, CONTRACT)
    assert found[NUMBER.name].isna().sum() == 1
    assert found[CONTRACT.label.name].isna()[0] and found[CATEGORY.name].isna()[0]


def test_a_missing_column_is_named(tmp_path: Path, table: pa.Table) -> None:
    said = read(tmp_path, table.drop_columns([NAMES[4]]))
    assert said.startswith(f"{tmp_path}/{MONTH}.parquet: the column {NAMES[4]} is missing")


def test_an_unknown_column_is_named(tmp_path: Path, table: pa.Table) -> None:
    assert "the column 'surprise' is not in" in read(tmp_path, table.append_column("surprise", table[0]))


def test_columns_in_another_order_or_twice_are_refused(tmp_path: Path, table: pa.Table) -> None:
    assert "each once and in its order" in read(tmp_path, table.select(NAMES[::-1]))
    assert "each once and in its order" in read(tmp_path, table.append_column(NAMES[0], table[0]))


@pytest.mark.parametrize(
    ("kind", "other", "value"),
    [
        ("number", pa.string(), "1.5"),
        ("number", pa.float32(), 1.5),
        ("integer", pa.float64(), 1.5),
        ("flag", pa.int64(), 1),
        ("time", pa.string(), "2013-01-31 05:15"),
        ("time", pa.timestamp("us", tz="UTC"), 0),
        ("category", pa.binary(), b"x"),
        ("category", pa.list_(pa.field("element", pa.string())), ["x"]),
    ],
    ids=str,
)
def test_a_column_of_another_type_is_named(
    tmp_path: Path, table: pa.Table, kind: str, other: pa.DataType, value: Any
) -> None:
    name = first_of(kind).name
    values = pa.array([value] * len(table), other)
    said = read(tmp_path, table.set_column(NAMES.index(name), name, values))
    assert f"{MONTH}.parquet: {name} is of the type {other}, but columns.py asks for" in said


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")], ids=str)
def test_a_number_that_is_not_finite_is_named_with_its_row(
    tmp_path: Path, table: pa.Table, value: float
) -> None:
    said = read(tmp_path, with_value(table, NUMBER, 2, value))
    assert f"{MONTH}.parquet, row 3: {NUMBER.name} is {value}, but must be a finite number" in said


@pytest.mark.parametrize("value", ["A\rB", "A\nB"])
def test_a_line_break_in_a_value_is_named_with_its_row(tmp_path: Path, table: pa.Table, value: str) -> None:
    said = read(tmp_path, with_value(table, CATEGORY, 2, value))
    assert f"row 3: {CATEGORY.name} is {value!r}, but must have no line breaks" in said


def test_a_file_that_is_cut_off_or_none_is_refused(tmp_path: Path, table: pa.Table) -> None:
    whole = tables.encoded(table)
    for content in (whole[:-1], whole[: len(whole) // 2], b"", b"flight_id,origin\n1,JFK\n"):
        assert "is cut off, or not a Parquet file" in read(tmp_path, content)


def test_a_month_without_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{MONTH}\.parquet does not exist: `ml restore`"):
        datafiles.read(tmp_path, MONTH, MONTH, CONTRACT)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda table: pa.concat_tables([table, table.slice(3, 1)]),
            f"row 8: {CONTRACT.key.name} .* is already in row 4: correct it in",
        ),
        (lambda table: with_value(table, CONTRACT.key, 2, None), "row 3: .* has no value"),
        (
            lambda table: with_value(table, CONTRACT.time, 2, pd.Timestamp("1999-01-01")),
            f"row 3: {CONTRACT.time.name} is 1999-01-01 .*, not in {MONTH}: correct it in",
        ),
    ],
    ids=["key twice", "no key", "another month"],
)
def test_a_row_that_cannot_be_is_named(
    tmp_path: Path, table: pa.Table, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    assert re.search(said, read(tmp_path, change(table)))


def test_a_key_may_not_be_in_two_months(tmp_path: Path, small_data: Path) -> None:
    first, second = source.months()[:2]
    one, two = (pq.read_table(small_data / f"{month}.parquet").slice(0, 4) for month in (first, second))
    two = with_value(two, CONTRACT.key, 0, one[CONTRACT.key.name][0].as_py())
    for month, found in ((first, one), (second, two)):
        (tmp_path / f"{month}.parquet").write_bytes(tables.encoded(found))
    said = rf"{second}\.parquet, row 1: .* is already in .*{first}\.parquet, row 1: correct it in"
    with pytest.raises(UserError, match=said):
        datafiles.read(tmp_path, first, second, CONTRACT)


# --- the same bytes ----------------------------------------------------------------------------------------


def test_the_same_rows_are_the_same_bytes(small_raw: pd.DataFrame) -> None:
    """Whatever order, index, chunks and types they came in, and however many threads wrote them."""
    month = small_raw[periods.within(small_raw[CONTRACT.time.name], MONTH, MONTH)]
    table = rows.typed(month, MONTH, CONTRACT)
    written = tables.encoded(table)
    shuffled = month.sample(frac=1, random_state=1)
    others = {
        "order": rows.typed(shuffled, MONTH, CONTRACT),
        "index": rows.typed(shuffled.set_axis(range(5, 5 + len(shuffled))), MONTH, CONTRACT),
        "columns": rows.typed(month[month.columns[::-1]], MONTH, CONTRACT),
        "objects": rows.typed(month.astype(object), MONTH, CONTRACT),
        "chunks": pa.concat_tables([table.slice(0, 1000), table.slice(1000)]),
        "metadata": table.replace_schema_metadata({"pandas": "of another version"}),
    }
    assert {name: tables.encoded(other) == written for name, other in others.items()} == dict.fromkeys(
        others, True
    )
    threads = pa.cpu_count()
    try:
        pa.set_cpu_count(threads + 3)
        assert tables.encoded(table) == written
    finally:
        pa.set_cpu_count(threads)
    assert tables.encoded(table.slice(1)) != written


def test_a_file_says_nothing_of_who_wrote_it_but_pyarrow_s_version(table: pa.Table) -> None:
    found = pq.read_metadata(io.BytesIO(tables.encoded(table)))
    assert found.metadata is None
    assert found.created_by == f"parquet-cpp-arrow version {pa.__version__}"
    assert found.row_group(0).column(0).compression == "ZSTD"
