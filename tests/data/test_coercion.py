"""What a source gives becomes what columns.py says, or one sentence says which row does not and the way out.

Each trouble for each type: what is taken stands beside what is refused.
"""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.base.errors import UserError
from pipelines.core import coercion, datafiles, rows, tables
from pipelines.core.contract import Column, Contract, Decision

CONTRACT = Contract(
    name="made",
    event="a row",
    horizon=1.0,
    decision=Decision(positive="p", act="a", false_alarm="f", miss="m"),
    columns=(
        Column("id", "text", "which", key=True, known_at=9.0),
        Column("at", "time", "when", time=True, known_at=9.0),
        Column("kind", "category", "", known_at=9.0, missing=0.5),
        Column("note", "text", "", known_at=9.0, missing=0.5),
        Column("count", "integer", "", known_at=9.0, missing=0.5),
        Column("size", "number", "", known_at=9.0, missing=0.5),
        Column("open", "flag", "", known_at=9.0, missing=0.5),
        Column("seen", "time", "", known_at=9.0, missing=0.5),
        Column("won", "flag", "", label=True, missing=0.5),
    ),
)
MONTH = "2024-03"
WHERE = f"pipelines/problem/source.py: {MONTH}"
NY = "America/New_York"


def given(**columns: Any) -> pd.DataFrame:
    """Three good rows, with these columns in place of theirs."""
    good = {
        "id": ["a", "b", "c"],
        "at": pd.to_datetime(["2024-03-01 10:00", "2024-03-02 10:00", "2024-03-03 10:00"]),
        "kind": ["x", "y", "x"],
        "note": ["n", None, "m"],
        "count": [1, 2, 3],
        "size": [0.5, 1.5, 2.5],
        "open": [True, False, True],
        "seen": pd.to_datetime(["2024-03-01", "2024-03-02", None]),
        "won": [True, False, None],
    }
    return pd.DataFrame(good | columns)


def taken(name: str, values: Any) -> list[Any]:
    """The column as a data file has it."""
    return rows.typed(given(**{name: values}), MONTH, CONTRACT)[name].to_pylist()


def refused(**columns: Any) -> str:
    with pytest.raises(UserError) as error:
        rows.typed(given(**columns), MONTH, CONTRACT)
    said = str(error.value)
    assert said.startswith(WHERE) and "\n" not in said
    return said.removeprefix(WHERE)


def objects(*values: Any) -> pd.Series:
    return pd.Series(list(values), dtype=object)


DAY = datetime.datetime(2024, 3, 1)
BIG = (1 << 53) + 1

TAKEN = [
    # ints with missing values, and every type in which whole numbers come
    ("count", [1.0, np.nan, 3.0], [1, None, 3]),
    ("count", pd.array([1, None, 3], dtype="Int64"), [1, None, 3]),
    ("count", pd.array([1, None, 3], dtype="Float64"), [1, None, 3]),
    ("count", np.array([1, 2, 3], dtype=np.uint8), [1, 2, 3]),
    ("count", [BIG, 2, 3], [BIG, 2, 3]),
    ("count", objects(Decimal(4), np.int32(5), None), [4, 5, None]),
    ("size", pd.array([1, None, 3], dtype="Int64"), [1.0, None, 3.0]),
    ("size", np.array([1, 2, 3], dtype=np.int16), [1.0, 2.0, 3.0]),
    ("size", np.array([0.5, 1, 2], dtype=np.float32), [0.5, 1.0, 2.0]),
    ("kind", [7.0, np.nan, 8.0], ["7", None, "8"]),
    ("id", [7, 8, 9], ["7", "8", "9"]),
    # texts, thousands, blanks, words for missing
    ("count", ["1,234", " 2 ", "3.0"], [1234, 2, 3]),
    ("size", ["1,234,567", "1,234.5", ""], [1234567.0, 1234.5, None]),
    ("size", [" 1.5", "-2e-3", "NA"], [1.5, -0.002, None]),
    ("size", ["nan", None, "N/A"], [None, None, None]),
    ("open", ["true", "0", "yes"], [True, False, True]),
    ("open", [" No ", "1.0", ""], [False, True, None]),
    ("open", [1.0, 0.0, np.nan], [True, False, None]),
    ("won", pd.array([True, None, False], dtype="boolean"), [True, None, False]),
    ("kind", [" x", "y ", "  "], ["x", "y", None]),
    ("kind", ["NA", "nan", ""], ["NA", "nan", None]),  # Namibia, and a name
    ("kind", pd.Categorical(["x", None, "y"]), ["x", None, "y"]),
    ("note", ["0012", "1,234", "True"], ["0012", "1,234", "True"]),
    # a BOM
    ("id", ["\ufeffa", "b", "c"], ["a", "b", "c"]),
    ("size", ["\ufeff1.5", "2", "3"], [1.5, 2.0, 3.0]),
    ("kind", ["ï»¿x", "y", "z"], ["x", "y", "z"]),
    # types that are mixed, each value certain
    ("size", objects(1, "2.5", 3.5), [1.0, 2.5, 3.5]),
    ("count", objects(1, "1", 1.0), [1, 1, 1]),
    ("open", objects(True, "no", 1), [True, False, True]),
    ("kind", objects(1, "1", 1.0), ["1", "1", "1"]),
    # times
    ("seen", ["2024-03-01", "2024-03-01 05:15", "2024-03-01T05:15:30.25"],
     [DAY, DAY.replace(hour=5, minute=15), DAY.replace(hour=5, minute=15, second=30, microsecond=250000)]),
    ("seen", ["2024-03-01T00:00Z", "2024-03-01 00:00:00+00:00", ""], [DAY, DAY, None]),
    ("seen", pd.to_datetime(["2024-03-01"] * 3, utc=True), [DAY] * 3),
    ("seen", objects(datetime.date(2024, 3, 1), np.datetime64("2024-03-01"), pd.NaT), [DAY, DAY, None]),
]  # fmt: skip

REFUSED = [
    ("count", [1.0, 1.5, 3.0], ", row 2: count is 1.5, but must be a whole number"),
    ("count", [1.0, 2.0**60, 3.0], "row 2: count is .* lost digits"),
    ("count", ["1", "1 234", "3"], "row 2: count is '1 234', but must be a whole number"),
    ("count", ["1", "1.234,5", "3"], "row 2: count is '1.234,5'.*what the comma is"),
    ("count", objects(1, "many", 3), "row 2: count is 'many'"),
    ("count", [1.0, np.inf, 3.0], "row 2: count is inf"),
    ("count", objects(1, 1 << 70, 3), "row 2: count is .* 64 bits"),
    ("size", ["1", "1,234", "3"], "row 2: size is '1,234', but must be a number; say what the comma is"),
    ("size", ["1", "12,5", "3"], "row 2: size is '12,5'.*decimal"),
    ("size", ["1", "5%", "3"], "row 2: size is '5%'"),
    ("size", ["1", "1_000", "3"], "row 2: size is '1_000'"),
    ("size", [0.5, -np.inf, 2.5], "row 2: size is -inf, but must be a finite number"),
    ("size", ["1", "1e999", "3"], "row 2: size is inf, but must be a finite number"),
    ("size", [1, BIG, 3], f"row 2: size is {BIG}, .* 53 bits"),
    ("size", objects(1, [2], 3), r"row 2: size is \[2\], but must be a number"),
    ("size", objects(1, 2j, 3), "row 2: size is 2j, but must be a number"),
    ("open", ["true", "perhaps", "no"], "row 2: open is 'perhaps', but must be true or false"),
    ("open", [1, 2, 0], "row 2: open is 2, but must be true or false"),
    ("kind", [1.0, 1.5, 2.0], "row 2: kind is 1.5, .* written in more than one way"),
    ("kind", objects("x", True, "y"), "row 2: kind is True, but must be a text"),
    ("kind", objects("x", b"\xff", "y"), "row 2: kind is b'.*', but must be a text"),
    ("kind", objects("x", "\ud800", "y"), "row 2: kind is .* half a character"),
    ("kind", ["x", "a\nb", "y"], "row 2: kind is 'a\\\\nb', but must have no line breaks"),
    ("id", ["a", " ", "c"], "row 2: id has no value"),
    ("id", ["a", "b", "a "], "row 3: id 'a' is already in row 1: correct it in"),
    ("at", pd.to_datetime(["2024-03-01", None, "2024-03-02"]), "row 2: at has no value"),
    ("at", ["2024-03-01", "2024-04-01", "2024-03-02"], "row 2: at is 2024-04-01.*not in 2024-03: correct"),
    ("seen", ["2024-03-01", "01/02/2024", ""], "row 2: seen is '01/02/2024', .*year first"),
    ("seen", ["2024-03-01", "2024-02-30", ""], "row 2: seen is '2024-02-30', .*out of range"),
    ("seen", [1709251200, 1709251201, 1709251202], "row 1: seen is 1709251200, .*its unit"),
    ("seen", ["2024-03-01 10:00+01:00", "", ""], r"row 1: seen is .*time zone \(UTC\+01:00\).*tz_convert"),
    ("seen", ["2024-03-01 10:00", "2024-03-01 10:00Z", ""], ": seen has times with a zone .* and without"),
    ("seen", pd.to_datetime(["2024-03-01 00:00:00.000000001"] * 3), "row 1: seen is .* microseconds"),
    # the hours that a clock change repeats or skips: only who knows the zone can say what they are
    ("seen", pd.date_range("2024-11-03 00:30", periods=3, freq="h", tz=NY), f"row 1: .*{NY}.*tz_localize"),
    ("seen", pd.date_range("2024-03-10 01:30", periods=3, freq="h", tz=NY), f"row 1: .*{NY}.*tz_localize"),
    ("seen", pd.date_range("2024-01-01", periods=3, tz="Europe/London"), "row 1: .*Europe/London"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "expected"), TAKEN)
def test_what_is_certain_is_taken(name: str, values: Any, expected: list[Any]) -> None:
    assert taken(name, values) == expected


@pytest.mark.parametrize(("name", "values", "said"), REFUSED)
def test_what_is_not_certain_is_one_sentence(name: str, values: Any, said: str) -> None:
    import re

    assert re.search(said, refused(**{name: values})), refused(**{name: values})


def test_the_good_rows_are_taken_as_they_are() -> None:
    table = given()
    assert {name: taken(name, table[name]) for name in table} == {
        name: [None if pd.isna(value) else value for value in table[name]] for name in table
    }


def test_a_name_with_a_bom_or_blanks_is_that_column_s() -> None:
    marked = given().rename(columns={"id": "\ufeffid", "kind": " kind ", "size": "ï»¿size"})
    assert rows.typed(marked, MONTH, CONTRACT).equals(rows.typed(given(), MONTH, CONTRACT))
    with pytest.raises(UserError, match="has the unknown column note2"):
        rows.typed(given(note2=1), MONTH, CONTRACT)
    with pytest.raises(UserError, match="lacks column size"):
        rows.typed(given().drop(columns="size"), MONTH, CONTRACT)


def test_a_column_that_is_there_twice_is_refused() -> None:
    twice = pd.concat([given(), given()[["size"]].rename(columns={"size": "size "})], axis=1)
    with pytest.raises(UserError, match="has the column size twice"):
        rows.typed(twice, MONTH, CONTRACT)


def test_no_rows_have_types_too() -> None:
    empty = rows.typed(given().head(0), MONTH, CONTRACT)
    assert empty.schema == tables.schema(CONTRACT) and empty.num_rows == 0
    assert coercion.typed(pd.DataFrame(columns=given().columns), WHERE, CONTRACT).num_rows == 0


def test_what_is_taken_reads_back_the_same(tmp_path: Any) -> None:
    """Missing whole numbers, flags and times too."""
    table = rows.typed(given(count=[1, None, 3]), MONTH, CONTRACT)
    datafiles.path(tmp_path, MONTH).write_bytes(tables.encoded(table))
    pd.testing.assert_frame_equal(datafiles.read(tmp_path, MONTH, MONTH, CONTRACT), tables.frame(table))


@pytest.mark.parametrize("values", [[-0.0, 0.0, 1.0], objects(0.0, -0.0, 1.0), ["-0", "-0.0", "1"]])
def test_a_zero_has_no_sign_however_it_is_given(values: Any) -> None:
    found = rows.typed(given(size=values), MONTH, CONTRACT)["size"].to_numpy()
    assert not np.signbit(found).any()
