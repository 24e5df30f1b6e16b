"""models/window.parquet as hostile bytes: read within bounds, or refused in one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.base.errors import Refused
from pipelines.core import tables
from pipelines.judge import proposal, window
from tests.problems.parcels.columns import CONTRACT

KEY = CONTRACT.key.name
ROWS = 1000
GOOD = {
    KEY: [f"event {n}" for n in range(ROWS)],
    "at": pd.date_range("2013-06-01", periods=ROWS, freq="h"),
    "distance": np.arange(ROWS, dtype=np.float32),
    "count": np.arange(ROWS),
    "flag": np.arange(ROWS) % 2 == 0,
}
NAMES = list(GOOD)


def good(**columns: Any) -> pa.Table:
    return pa.table(GOOD | columns)


def wide(name: str, length: int) -> pa.Table:
    """A text of that length, once in the file and a hundred thousand times in its rows."""
    rows = 1 << 17
    column = pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), ["x" * length])
    return pa.table({KEY: np.arange(rows), name: column})


def refused(path: Path) -> str:
    with pytest.raises(Refused) as error:
        window.read(path, NAMES)
    said = str(error.value)
    assert said and "\n" not in said and len(said) < 500
    return said


def write(path: Path, table: pa.Table, **settings: Any) -> Path:
    pq.write_table(table, path, **settings)
    return path


def test_what_the_pipeline_writes_is_read_whole(tmp_path: Path) -> None:
    rows = pd.DataFrame(GOOD).astype({KEY: "str"})
    path = tables.write(tmp_path / "window.parquet", rows)
    pd.testing.assert_frame_equal(window.read(path, NAMES), tables.read(path))
    found = window.read(path, ["distance", "no such", KEY])
    assert list(found.columns) == ["distance", KEY] and len(found) == ROWS
    empty = tables.write(tmp_path / "empty.parquet", rows.head(0))
    assert window.read(empty, NAMES).empty


def test_a_small_file_that_holds_gigabytes_is_refused_and_one_of_short_texts_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "MEMORY_BYTES", 1 << 30)  # is sooner full
    bomb = write(tmp_path / "bomb.parquet", wide("at", 1 << 20), store_schema=False)
    assert bomb.stat().st_size < 8 << 20  # and 128 GiB when it is read
    assert "it takes more than 1 GiB" in refused(bomb)
    tame = write(tmp_path / "tame.parquet", wide("at", 1), store_schema=False)
    assert len(window.read(tame, NAMES)) == 1 << 17


def test_more_bytes_than_the_pipeline_writes_are_refused_while_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = pa.table({KEY: pa.array(np.zeros(1 << 20, dtype=np.int64))})
    path = write(tmp_path / "zeros.parquet", zeros)
    assert path.stat().st_size < 1 << 20 and len(window.read(path, NAMES)) == 1 << 20
    monkeypatch.setattr(window, "LARGEST_BYTES", 4 << 20)  # here: the process has its own
    assert "is the most" in refused(path)


def test_flags_that_would_fill_the_judge_s_own_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag is one bit on its way and two bytes in pandas, in the process that has no bounds."""
    flags = {name: pa.array(np.zeros(1 << 20, dtype=bool)) for name in NAMES}
    path = write(tmp_path / "flags.parquet", pa.table(flags))
    assert window.read(path, NAMES).shape == (1 << 20, len(NAMES))
    monkeypatch.setattr(window, "LARGEST_BYTES", 4 << 20)
    assert "more values than fit" in refused(path)


def test_a_process_that_takes_too_much_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "window.parquet", good())
    monkeypatch.setattr(window, "MEMORY_BYTES", 64 << 20)  # not even pyarrow fits in
    assert "it takes more than 0.0625 GiB" in refused(path)
    monkeypatch.undo()
    monkeypatch.setattr(window, "PATIENCE_SECONDS", 0.0)
    assert "has not answered" in refused(path)


class Secret(pa.ExtensionType):
    """An Arrow type of somebody's own."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "tests.secret")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Secret":
        return cls()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (lambda: pa.array([[1.0]] * ROWS), "distance is of the type list"),
        (lambda: pa.array([{"a": {"b": 1}}] * ROWS), "distance is of the type struct"),
        (lambda: pa.array([b"x"] * ROWS), "distance is of the type binary"),
        (lambda: pa.array([1] * ROWS, pa.decimal128(38, 2)), "distance is of the type decimal"),
    ],
    ids=["list", "struct", "binary", "decimal"],
)
def test_a_type_that_the_pipeline_never_writes_is_named(
    tmp_path: Path, values: Callable[[], pa.Array], said: str
) -> None:
    path = write(tmp_path / "window.parquet", good(distance=values()))
    assert said in refused(path)


def test_an_extension_type_is_no_more_than_what_stores_it(tmp_path: Path) -> None:
    values = pa.ExtensionArray.from_storage(Secret(), pa.array(np.arange(ROWS) * 0.5))
    found = window.read(
        write(tmp_path / "window.parquet", good(distance=values, flag=[[1]] * ROWS)), NAMES[:4]
    )
    assert len(found.columns) == 4  # nobody asked for the lists
    assert list(found["distance"]) == list(np.arange(ROWS) * 0.5)


def test_a_column_twice_and_too_many_groups_or_columns_are_refused(tmp_path: Path) -> None:
    twice = good().append_column("count", pa.array(np.arange(ROWS)))
    assert "has the column count twice" in refused(write(tmp_path / "twice.parquet", twice))
    many = pa.table({KEY: np.arange(window.MOST_GROUPS + 1)})
    assert "10,001 groups of rows" in refused(write(tmp_path / "groups.parquet", many, row_group_size=1))
    broad = pa.table({f"c{n}": [n] for n in range(window.MOST_COLUMNS + 1)})
    assert "10,001 columns" in refused(write(tmp_path / "columns.parquet", broad))


def test_spoilt_bytes_are_a_sentence(tmp_path: Path) -> None:
    content = write(tmp_path / "window.parquet", good()).read_bytes()
    footer = int.from_bytes(content[-8:-4], "little")
    for name, spoilt in {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "footer": content[:-8] + (1 << 31).to_bytes(4, "little") + content[-4:],
        "schema": content[: -footer - 8] + b"\xff" * footer + content[-8:],
        "pages": content[:4] + b"\xff" * (len(content) - footer - 12) + content[-footer - 8 :],
    }.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(spoilt)
        assert refused(path), name


def test_the_proposal_s_sentence_names_the_file(tmp_path: Path) -> None:
    def said(table: pa.Table) -> str:
        path = write(tmp_path / "window.parquet", table)
        with pytest.raises(proposal.InvalidProposal) as error:
            proposal._window(path, CONTRACT, ())
        return str(error.value)

    assert said(good(**{KEY: pa.array([[1]] * ROWS)})).startswith("models/window.parquet cannot be read (")
    assert said(good().drop_columns([KEY])) == f"models/window.parquet has no column {KEY}"
    assert "is in two rows" in said(good(**{KEY: ["a"] * ROWS}))
