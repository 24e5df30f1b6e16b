"""The rows of a problem: core/rows.py with its source, features and contract."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import months, room, rows, tables
from pipelines.core.problem import Problem

if TYPE_CHECKING:
    import pyarrow as pa


def known(problem: Problem) -> list[str]:
    """The months that the source has, oldest first."""
    return room.months(problem.source.months)


def from_source(month: str, problem: Problem) -> "pa.Table":
    """The month as its file has it, by what the source gives now. UserError where that does not fit
    columns.py."""
    table = room.call(problem.source.read, month)
    if not isinstance(table, pd.DataFrame):
        raise UserError(
            f"pipelines/problem/source.py: read() must return a table, not {type(table).__name__}"
        )
    return rows.typed(table, month, problem.contract)


def read(month: str, problem: Problem) -> pd.DataFrame:
    """The raw rows of a month of the source, as its file would hold them. UserError as `from_source`."""
    return tables.frame(from_source(month, problem))


def of_month(month: str, problem: Problem, folder: Path | None = None) -> pd.DataFrame:
    """The rows of a month with their features; raw rows are of FOLDER/MONTH.parquet where that is
    there, else of the source. UserError where neither has the month.
    """

    def of_folder(name: str) -> pd.DataFrame:
        file = None if folder is None else months.path(folder, name)
        if file is not None and (file.is_file() or name == month):
            return months.read(file.parent, name, name, problem.contract)
        return read(name, problem)

    return with_features(month, of_folder, problem)


def with_features(month: str, read: rows.Read, problem: Problem) -> pd.DataFrame:
    """The rows of a month with their features, made of what `read` gives of it and of the days before."""
    features = problem.features
    history = rows.history_days(features)
    return rows.of_month(month, known(problem), read, features.build, history, problem.contract)
