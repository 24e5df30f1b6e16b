"""A bad data file is refused in one sentence, with file, column and line where they can be known."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.core.contract import Column
from pipelines.problem import source
from pipelines.problem.columns import CONTRACT
from pipelines.training import months

MONTH = source.months()[0]
NAMES = [column.name for column in CONTRACT.raw]


def first_of(kind: str) -> Column:
    return next(column for column in CONTRACT.raw if column.type == kind)


@pytest.fixture
def lines(small_data: Path) -> list[str]:
    return (small_data / f"{MONTH}.csv").read_text().splitlines()[:8]


def read(folder: Path, lines: list[str], end: str = "\n") -> str:
    """The sentence with which a file of these lines is refused."""
    folder.mkdir(exist_ok=True)
    (folder / f"{MONTH}.csv").write_text("\n".join(lines) + end)
    with pytest.raises(UserError) as error:
        months.read(folder, MONTH, MONTH)
    assert "\n" not in str(error.value)
    return str(error.value)


def with_value(line: str, column: Column, value: str) -> str:
    fields = line.split(",")
    fields[NAMES.index(column.name)] = value
    return ",".join(fields)


def without_column(line: str, index: int) -> str:
    return ",".join(field for place, field in enumerate(line.split(",")) if place != index)


def test_a_good_file_is_read_with_its_types(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / f"{MONTH}.csv").write_text("\n".join(lines) + "\n")
    table = months.read(tmp_path, MONTH, MONTH)
    assert len(table) == len(lines) - 1
    assert table[CONTRACT.time.name].dtype.kind == "M"
    assert table[CONTRACT.label.name].dtype == "boolean"
    assert table[first_of("number").name].dtype == "float64"


def test_an_empty_number_is_missing_and_an_empty_flag_too(tmp_path: Path, lines: list[str]) -> None:
    lines[1] = with_value(with_value(lines[1], first_of("number"), ""), CONTRACT.label, "")
    (tmp_path / f"{MONTH}.csv").write_text("\n".join(lines) + "\n")
    table = months.read(tmp_path, MONTH, MONTH)
    assert table[first_of("number").name].isna().sum() == 1
    assert table[CONTRACT.label.name].isna()[0]


def test_a_missing_column_is_named(tmp_path: Path, lines: list[str]) -> None:
    said = read(tmp_path, [without_column(line, 4) for line in lines])
    assert said.startswith(f"{tmp_path}/{MONTH}.csv: the column {NAMES[4]} is missing")


def test_an_unknown_column_is_named(tmp_path: Path, lines: list[str]) -> None:
    said = read(tmp_path, [f"{lines[0]},surprise", *(f"{line},1" for line in lines[1:])])
    assert "the column 'surprise' is not in" in said


def test_columns_in_another_order_are_refused(tmp_path: Path, lines: list[str]) -> None:
    assert "order" in read(tmp_path, [",".join(reversed(line.split(","))) for line in lines])


@pytest.mark.parametrize(
    ("column", "value", "must"),
    [
        (first_of("number"), "much", "must be a number"),
        (CONTRACT.label, "perhaps", "must be true or false"),
        (CONTRACT.time, "1 May", "must be a time as 2013-01-31 05:15"),
        *((c, "1.5", "must be a whole number") for c in CONTRACT.raw if c.type == "integer"),
    ],
    ids=lambda value: value.name if isinstance(value, Column) else None,
)
def test_a_value_of_another_type_is_named_with_its_line(
    tmp_path: Path, lines: list[str], column: Column, value: str, must: str
) -> None:
    lines[3] = with_value(lines[3], column, value)
    assert f"{MONTH}.csv, line 4: {column.name} is {value!r}, but {must}" in read(tmp_path, lines)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
def test_a_number_that_is_not_finite_is_named_with_its_line(
    tmp_path: Path, lines: list[str], value: str
) -> None:
    column = first_of("number")
    lines[3] = with_value(lines[3], column, value)
    assert (
        f"{MONTH}.csv, line 4: {column.name} is {value.replace('1e999', 'inf')}, but must be a finite"
        in read(tmp_path, lines)
    )


def test_a_carriage_return_in_a_value_is_named_with_its_line(tmp_path: Path, lines: list[str]) -> None:
    column = next(c for c in CONTRACT.raw if c.type == "category")
    lines[3] = with_value(lines[3], column, "A\rB")
    folder = tmp_path / "cr"
    folder.mkdir()
    (folder / f"{MONTH}.csv").write_bytes(("\n".join(lines) + "\n").encode())
    with pytest.raises(UserError, match=rf"line 4: {column.name} holds a carriage return"):
        months.read(folder, MONTH, MONTH)
    (folder / f"{MONTH}.csv").write_bytes(("\r\n".join(lines[:3]) + "\r\n").encode())
    assert len(months.read(folder, MONTH, MONTH)) == 2  # an end of line as Windows writes it is none


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, lines: list[str]) -> None:
    assert "is cut off" in read(tmp_path, lines, end="")
    assert "is cut off" in read(tmp_path, [*lines[:-1], lines[-1][:10]], end="")


def test_a_short_row_is_named_with_its_line(tmp_path: Path, lines: list[str]) -> None:
    lines[2] = without_column(lines[2], 5)
    assert f"line 3: has {len(NAMES) - 1} values, but there are {len(NAMES)} columns" in read(tmp_path, lines)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert f"the column {NAMES[0]} is missing" in read(tmp_path, [])


def test_a_month_without_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{MONTH}\.csv does not exist: `ml restore`"):
        months.read(tmp_path, MONTH, MONTH)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines, lines[4]], f"line 9: {CONTRACT.key.name} "),
        (
            lambda lines: [*lines[:3], with_value(lines[3], CONTRACT.key, ""), *lines[4:]],
            "line 4: .* no value",
        ),
        (
            lambda lines: [*lines[:3], with_value(lines[3], CONTRACT.time, "1999-01-01 00:00"), *lines[4:]],
            f"line 4: {CONTRACT.time.name} is not in {MONTH}",
        ),
    ],
    ids=["key twice", "no key", "another month"],
)
def test_a_row_that_cannot_be_is_named_with_its_line(
    tmp_path: Path, lines: list[str], change: Callable[[list[str]], list[str]], said: str
) -> None:
    import re

    assert re.search(said, read(tmp_path, change(lines)))


def test_a_key_may_not_stand_in_two_months(tmp_path: Path, small_data: Path) -> None:
    first, second = source.months()[:2]
    one, two = ((small_data / f"{month}.csv").read_text().splitlines()[:5] for month in (first, second))
    key = one[1].split(",")[NAMES.index(CONTRACT.key.name)]
    two[1] = with_value(two[1], CONTRACT.key, key)
    for month, found in ((first, one), (second, two)):
        (tmp_path / f"{month}.csv").write_text("\n".join(found) + "\n")
    with pytest.raises(UserError, match="stands in more than one row"):
        months.read(tmp_path, first, second)
