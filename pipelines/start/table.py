"""A table as somebody has it: a CSV or Parquet file, a folder of them, or a query."""

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from pipelines.base.errors import UserError

ENDING = re.compile(r"\.(csv(\.gz|\.zip)?|tsv|parquet)$", re.IGNORECASE)
NAMED = re.compile(r"(\d{4}-\d\d-\d\d)\.[a-z.]+$", re.IGNORECASE)
ARRIVED = "arrived"
SAMPLE = 1 << 16  # bytes, to see what separates the columns
DUCKDB = (
    "a query needs the package duckdb: name it in the group `train` of pyproject.toml, then `make lock` and "
    "`make .venv/ready`"
)


@dataclass(frozen=True)
class Table:
    """Its rows, and how source.py reads them."""

    rows: pd.DataFrame
    name: str
    kind: Literal["csv", "parquet", "query"]
    place: str  # a path below the repository's top, else whole; the text of a query
    ending: str = ""  # of its files
    folder: bool = False
    separator: str = ","
    arrived: bool = False  # the files of the folder are named by a day, which is the column ARRIVED

    def reader(self, name: str) -> str:
        """The code that reads the file in the variable `name`."""
        separated = "" if self.separator == "," else f", sep={self.separator!r}"
        return f"pd.read_{self.kind}({name}{separated})"


def read(given: str, top: Path) -> Table:
    """The table that `given` names, for the repository in `top`. UserError where there is none, or it holds
    nothing."""
    is_name = len(os.fsencode(given)) < 256 and Path(given).exists()  # which fails at a longer name
    if re.match(r"(?is)\s*(select|with|from)\s", given) and not is_name:
        return _full(_query(given.strip(), "query", top))
    path = Path(given)
    if not path.exists():
        raise UserError(f"{given} does not exist: give a CSV or Parquet file, a folder of them, or a query")
    if path.suffix == ".sql":
        return _full(_query(path.read_text(encoding="utf-8").strip(), path.stem, top))
    return _full(_files(path, top))


def _files(path: Path, top: Path) -> Table:
    files = sorted(file for file in path.iterdir() if _ending(file)) if path.is_dir() else [path]
    endings = sorted({_ending(file) for file in files})
    if len(endings) != 1 or not endings[0]:
        are = "are " + " and ".join(endings) if len(endings) > 1 else "are no CSV and no Parquet"
        raise UserError(f"{path}: its files {are}: give one CSV or Parquet file, or a folder of one kind")
    named = [bool(NAMED.search(file.name)) for file in files]
    if path.is_dir() and any(named) and not all(named):
        lacking = files[named.index(False)].name
        raise UserError(f"{path}: some files are named by a day, as x-2026-01-31.csv, and {lacking} is not")
    kind: Literal["csv", "parquet"] = "parquet" if endings[0].lower() == ".parquet" else "csv"
    separator, arrived = _separator(files[0]) if kind == "csv" else ",", path.is_dir() and all(named)
    parts = []
    for file in files:
        try:
            whole = pd.read_csv(file, sep=separator) if kind == "csv" else pd.read_parquet(file)
        except (ValueError, OSError) as error:  # those of pandas, of Arrow and of the encoding are among them
            out = ": save it as UTF-8" if isinstance(error, UnicodeError) else ""
            raise UserError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}{out}") from None
        parts.append(whole.assign(**{ARRIVED: NAMED.search(file.name)[1]}) if arrived else whole)  # type: ignore[index]
    found = path.resolve()
    place = (found.relative_to(top) if found.is_relative_to(top) else found).as_posix()
    rows = pd.concat(parts, ignore_index=True)
    return Table(rows, path.name, kind, place, endings[0], path.is_dir(), separator, arrived)


def _query(text: str, name: str, top: Path) -> Table:
    try:
        import duckdb
    except ModuleNotFoundError:
        raise UserError(DUCKDB) from None
    try:
        rows = duckdb.connect(config={"file_search_path": str(top)}).sql(text).df()
    except (duckdb.Error, AttributeError) as error:  # a statement that gives no rows gives None
        raise UserError(f"the query cannot be run: {' '.join(str(error).split())[:200]}") from None
    return Table(rows, name, "query", text)


def _full(table: Table) -> Table:
    if table.rows.empty:
        raise UserError(f"{table.name} has no rows")
    if (twice := table.rows.columns.duplicated()).any():
        raise UserError(f"{table.name} has the column {table.rows.columns[twice][0]} twice: rename one")
    table.rows.columns = table.rows.columns.astype(str)
    for name, values in table.rows.items():
        if values.dtype == object and not values.map(pd.api.types.is_hashable).all():
            raise UserError(f"{table.name}: {name} has lists in it, which no model takes: leave it out")
        if pd.api.types.is_float_dtype(values):
            far = np.abs(values.to_numpy(np.float64, na_value=np.nan)) > np.finfo(np.float32).max
            if far.any():
                wrong = f"{name} is {values.iloc[far.argmax()]}, which no model takes"
                raise UserError(f"{table.name}, row {far.argmax() + 1}: {wrong}: leave it empty there")
    return table


def _ending(file: Path) -> str:
    found = ENDING.search(file.name)
    return found[0] if found and file.is_file() else ""


def _separator(file: Path) -> str:
    """Of a file that is packed it is the comma."""
    if file.suffix.lower() in (".gz", ".zip"):
        return ","
    with file.open(encoding="utf-8", errors="replace", newline="") as opened:
        head = opened.readline(SAMPLE)
    try:
        return csv.Sniffer().sniff(head, delimiters=",;\t|").delimiter
    except csv.Error:
        return ","  # one column, or a name that says nothing
