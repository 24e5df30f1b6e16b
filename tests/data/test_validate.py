"""Great Expectations holds each month against the contract, and refuses a bad one for its own reason."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import Refused
from pipelines.files import write_bytes
from pipelines.params import Params
from pipelines.problem import source
from pipelines.problem.columns import CONTRACT
from pipelines.training import months, validate

MONTH = source.months()[0]
RANGED = next(c for c in CONTRACT.raw if c.type == "number" and c.maximum is not None)
Rows = pd.DataFrame


@pytest.fixture(scope="module")
def month(small_raw: Rows) -> Rows:
    """A tenth of a month, with rows on each of its days."""
    rows = small_raw[months.within(small_raw[CONTRACT.time.name], MONTH, MONTH)]
    return rows.iloc[::10].reset_index(drop=True)


def failed(table: Rows, docs: Path) -> list[str]:
    results = validate.expect({MONTH: table}, docs)
    return [validate.sentence(result, Path("data")) for result in results if not result["success"]]


def out_of_range(rows: Rows) -> Rows:
    return rows.assign(**{RANGED.name: rows[RANGED.name].where(rows.index % 10 != 0, RANGED.maximum * 2)})


def half_missing(rows: Rows) -> Rows:
    return rows.assign(**{RANGED.name: rows[RANGED.name].where(rows.index % 2 == 0)})


def one_label(rows: Rows) -> Rows:
    return rows.assign(**{CONTRACT.label.name: pd.array([False] * len(rows), dtype="boolean")})


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
    rows = small_raw[months.within(small_raw[CONTRACT.time.name], MONTH, MONTH)].reset_index(drop=True)
    few = len(rows) // 2000
    values = rows[RANGED.name].where(rows.index >= few, RANGED.maximum * 2)
    assert failed(rows.assign(**{RANGED.name: values}), tmp_path) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (out_of_range, f"data/{MONTH}.csv: expected {RANGED.name} to lie from"),
        (
            half_missing,
            f"expected {RANGED.name} to be there in 100.0% of the rows; 50.0% of the values are not",
        ),
        (one_label, f"expected {CONTRACT.label.name} to be true in some rows and false in others"),
        (week_lost, f"expected day of {CONTRACT.time.name} to have rows on 29 days or more; found 24"),
        (key_twice, f"expected {CONTRACT.key.name} to be unique"),
        (column_lost, "expected the columns to be those of columns.py, in that order"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_month_is_refused_for_its_own_reason(
    month: Rows, tmp_path: Path, spoil: Callable[[Rows], Rows], said: str
) -> None:
    sentences = failed(spoil(month), tmp_path)
    assert sentences and said in sentences[0]


def test_the_stage_refuses_and_leaves_no_result(
    small_data: Path, small_params: Params, tmp_path: Path
) -> None:
    first, *_, last = months.between(small_params.data.first, small_params.data.through)
    for name in months.between(first, last):
        table = months.read(small_data, name, name).iloc[::20]
        write_bytes(tmp_path / "data" / f"{name}.csv", months.to_csv(table))
    validate.run(small_params, tmp_path / "data", tmp_path / "build")
    once = (tmp_path / "build/validation.json").read_bytes()
    validate.run(small_params, tmp_path / "data", tmp_path / "build")
    assert (tmp_path / "build/validation.json").read_bytes() == once  # or nothing after it could be skipped
    assert json.loads(once)["success"] is True

    table = months.read(tmp_path / "data", last, last)
    spoilt = months.to_csv(table.assign(**{RANGED.name: np.where(table.index % 3, 1e9, RANGED.minimum)}))
    write_bytes(tmp_path / "data" / f"{last}.csv", spoilt)
    (tmp_path / "build/validation.json").unlink()
    with pytest.raises(Refused, match=rf"{last}\.csv: expected {RANGED.name} to lie from"):
        validate.run(small_params, tmp_path / "data", tmp_path / "build")
    assert not (tmp_path / "build/validation.json").exists()
