"""A stranger's models/window.parquet, read in a process of its own with bounds on memory and time: a small
file can hold gigabytes, and a broken one may end its reader. What comes back is batches of rows in Arrow's
own form, looked through before they are used. `answers` is that process."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.base.errors import Refused, one_line
from pipelines.core import tables
from pipelines.judge import contained

MEMORY_BYTES = 4 << 30  # of address space
PROCESSOR_SECONDS = 120
PATIENCE_SECONDS = 120.0  # in all
MOST_ROWS = 20_000_000
MOST_COLUMNS = 10_000
MOST_GROUPS = 10_000  # of rows
LARGEST_BYTES = 2 << 30  # of the columns that are read
A_VALUE = 4  # bytes, at least: a flag is one bit here and two bytes to pandas, outside the bounds
BATCH = 1 << 16  # rows
ROWS, END, REFUSED = b"r", b"e", b"f"


def read(path: Path, names: list[str]) -> pd.DataFrame:
    """Those columns of `names` that the file has, as tables.read gives them. Refused where it has more rows
    or bytes than any that the pipeline writes, other columns than numbers, flags, times and texts, or takes
    too much."""
    words = (MEMORY_BYTES, PROCESSOR_SECONDS, str(path.resolve()))
    process = contained.Process("pipelines.judge.window", *words)
    until, left = time.monotonic() + PATIENCE_SECONDS, LARGEST_BYTES
    parts: list[Any] = []
    try:
        process.ask(json.dumps(names).encode())
        while True:
            kind, said = process.listen(left, max(0.0, until - time.monotonic()))
            if kind == END:
                return tables.frame(pa.concat_tables(parts))
            if kind != ROWS:
                raise Refused(said.decode("utf-8", "replace"))
            part = pa.ipc.open_stream(said).read_all()
            left -= max(len(said), A_VALUE * part.num_rows * part.num_columns)
            if left < 0:
                raise Refused(f"it has more values than fit into {LARGEST_BYTES:,} bytes, which is the most")
            part.validate(full=True)
            _require_plain(part.schema, part.schema.names)
            parts.append(part)
    except pa.ArrowException as error:
        raise Refused(" ".join(str(error).split())[:200]) from None


def _require_plain(schema: pa.Schema, names: list[str]) -> None:
    are = "floating integer boolean timestamp string large_string".split()
    for name in names:
        kind = schema.field(name).type
        if not any(getattr(pa.types, f"is_{what}")(kind) for what in are):
            raise Refused(f"{name[:60]} is of the type {str(kind)[:60]}, which the pipeline never writes")


def _batches(path: str, names: list[str]) -> Iterator[bytes]:
    # What a file says of Arrow's types, extensions among them, is not believed.
    with pq.ParquetFile(path, arrow_extensions_enabled=False, pre_buffer=False) as file:
        meta = file.metadata
        for count, most, what in (
            (meta.num_rows, MOST_ROWS, "rows"),
            (len(file.schema_arrow.names), MOST_COLUMNS, "columns"),
            (meta.num_row_groups, MOST_GROUPS, "groups of rows"),
        ):
            if count > most:
                raise Refused(f"it has {count:,} {what}, and {most:,} is the most")
        said = sum(meta.row_group(place).total_byte_size for place in range(meta.num_row_groups))
        if said > LARGEST_BYTES:
            raise Refused(f"it has {said:,} bytes, and {LARGEST_BYTES:,} is the most")
        found = file.schema_arrow
        if twice := [name for name in names if found.names.count(name) > 1]:
            raise Refused(f"it has the column {twice[0]} twice")
        wanted = [name for name in names if name in found.names]
        _require_plain(found, wanted)
        schema = pa.schema([(name, found.field(name).type) for name in wanted])
        yield _stream(schema.empty_table())
        for batch in file.iter_batches(BATCH, columns=wanted, use_threads=False):
            yield _stream(pa.Table.from_batches([batch]).select(wanted).cast(schema))


def _stream(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue().to_pybytes()


def answers(questions: Iterator[bytes], path: str) -> Iterator[tuple[bytes, bytes]]:
    """The columns that are asked for, a batch of rows after the other."""
    try:
        for batch in _batches(path, json.loads(next(questions))):
            yield ROWS, batch
        yield END, b""
    except MemoryError:
        raise
    except Exception as error:  # whatever pyarrow says of bytes that nobody vouches for
        said = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        yield REFUSED, one_line(said, 300).encode()
