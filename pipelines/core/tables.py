"""Tables as Parquet files: the same rows give the same bytes, whichever machine and Python write them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.base.errors import UserError
from pipelines.base.files import write_bytes
from pipelines.core.contract import Column, Contract

# All that decides about bytes, beside pyarrow's version, which the file names and the lock pins.
SETTINGS: dict[str, Any] = {
    "version": "2.6",
    "compression": "zstd",  # snappy's bytes depend on the processor
    "compression_level": 3,
    "row_group_size": 1 << 20,  # rows
    "data_page_size": 1 << 20,  # bytes
    "data_page_version": "1.0",
    "dictionary_pagesize_limit": 1 << 20,  # bytes
    "use_dictionary": True,
    "write_statistics": True,
    "store_schema": False,  # it would hold what pandas and its version say of the table
}


def write(path: Path, rows: pd.DataFrame) -> Path:
    """Write `rows`, without their index, in one step."""
    return write_bytes(path, encoded(pa.Table.from_pandas(rows, preserve_index=False)))


def read(path: Path) -> pd.DataFrame:
    """The rows of a file that `write` wrote. UserError where it is no such file."""
    return frame(decoded(path.read_bytes(), path))


def encoded(table: pa.Table) -> bytes:
    """The table as a Parquet file, without what its schema says beside names and types."""
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None).combine_chunks(), out, **SETTINGS)
    return out.getvalue()


def decoded(content: bytes, file: Path, wanted: pa.Schema | None = None) -> pa.Table:
    """The table in the Parquet file `file`, which has this content. UserError where it is none, is cut off,
    or has other columns than those `wanted`."""
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as opened:
            if wanted is not None:
                _require(wanted, opened.schema_arrow, file)
            return opened.read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{file} is cut off, or not a Parquet file ({' '.join(str(error).split())[:120]}): `rm {file}`, "
            "and `ml restore` or `ml ingest` makes it again"
        ) from None


def frame(table: pa.Table) -> pd.DataFrame:
    """Texts as str, flags as nullable boolean, integers as int64 (float64 where one is missing)."""
    text = pd.StringDtype(na_value=np.nan)
    kinds = {pa.bool_(): pd.BooleanDtype(), pa.string(): text, pa.large_string(): text}
    return table.to_pandas(types_mapper=kinds.get, ignore_metadata=True)


def schema(contract: Contract) -> pa.Schema:
    """The columns of a data file, in order."""
    return pa.schema([(column.name, kind(column)) for column in contract.raw])


def kind(column: Column) -> pa.DataType:
    """The type of a column in a data file."""
    kinds = {"time": pa.timestamp("us"), "flag": pa.bool_(), "integer": pa.int64(), "number": pa.float64()}
    return kinds.get(column.type, pa.string())


def _require(wanted: pa.Schema, found: pa.Schema, file: Path) -> None:
    names, has = wanted.names, found.names
    if missing := [name for name in names if name not in has]:
        why = f"the column {missing[0]} is missing, and pipelines/problem/columns.py asks for it"
    elif unknown := [name for name in has if name not in names]:
        why = f"the column {unknown[0]!r} is not in pipelines/problem/columns.py"
    elif has != names:
        why = f"its columns are not those of columns.py, each once and in its order ({', '.join(names)})"
    elif other := [name for name in names if found.field(name).type != wanted.field(name).type]:
        types = (schema.field(other[0]).type for schema in (found, wanted))
        why = "{} is of the type {}, but columns.py asks for {}".format(other[0], *types)
    else:
        return
    raise UserError(f"{file}: {why}: correct columns.py, or run `ml ingest`, which writes the file so")
