"""The one road for rows: from the source or a folder of files, checked, in order, with history and features:
the same whichever room asks, the first row of a month included."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from pipelines.base.errors import UserError
from pipelines.core import coercion, datafiles, features, periods, room, tables
from pipelines.core.contract import Contract
from pipelines.core.problem import Problem

Read = Callable[[str], pd.DataFrame]  # the raw rows of a month, as its file holds them


def known(problem: Problem) -> list[str]:
    """The months that the source has, oldest first."""
    return room.months(problem.source.months)


def of_source(month: str, problem: Problem) -> pa.Table:
    """The month as its file has it, by what the source gives now. UserError as `typed`."""
    table = room.call(problem.source.read, month)
    if not isinstance(table, pd.DataFrame):
        given = type(table).__name__
        raise UserError(f"pipelines/problem/source.py: read() must return a table, not {given}")
    return typed(table, month, problem.contract)


def typed(table: pd.DataFrame, month: str, contract: Contract) -> pa.Table:
    """What a source gives of a month with the contract's columns and types, sorted by time and key.
    UserError, with column and row, where it does not fit columns.py."""
    where = f"pipelines/problem/source.py: {month}"
    found = coercion.typed(table, where, contract)
    datafiles.checked(found, where, month, contract)
    return found.sort_by([(column.name, "ascending") for column in (contract.time, contract.key)])


def read(month: str, problem: Problem) -> pd.DataFrame:
    """The raw rows of a month of the source, as its file would hold them. UserError as `of_source`."""
    return tables.frame(of_source(month, problem))


def read_from(folder: Path, problem: Problem) -> Read:
    """Reads raw rows of FOLDER/MONTH.parquet where that is there, else of the source."""

    def read_month(name: str) -> pd.DataFrame:
        if datafiles.path(folder, name).is_file():
            return datafiles.read(folder, name, name, problem.contract)
        return read(name, problem)

    return read_month


def of_month(month: str, problem: Problem, raw: Read | None = None) -> pd.DataFrame:
    """The rows of `month` with their features, made of what `raw`, else the source, gives of it and, only to
    make these, of the HISTORY_DAYS before it."""
    first = periods.start(month)
    before = periods.at(first - pd.Timedelta(days=features.history_days(problem)), month)
    names = [name for name in sorted({*known(problem), month}) if before <= name <= month]
    parts = [raw(name) if raw else read(name, problem) for name in names]
    return features.since(first, pd.concat(parts, ignore_index=True), problem)
