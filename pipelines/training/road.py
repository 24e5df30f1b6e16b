"""The rows of this repository's own problem: core/rows.py with its source, features and contract."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import months, room, rows, tables
from pipelines.core.contract import Contract
from pipelines.problem import features, source
from pipelines.problem.columns import CONTRACT

if TYPE_CHECKING:
    import pyarrow as pa


def known() -> list[str]:
    """The months that the source has, oldest first."""
    return room.months(source.months)


def from_source(month: str, contract: Contract = CONTRACT) -> "pa.Table":
    """The month as its file has it, by what the source gives now. UserError where that does not fit
    columns.py."""
    table = room.call(source.read, month)
    if not isinstance(table, pd.DataFrame):
        raise UserError(
            f"pipelines/problem/source.py: read() must return a table, not {type(table).__name__}"
        )
    return rows.typed(table, month, contract)


def read(month: str, contract: Contract = CONTRACT) -> pd.DataFrame:
    """The raw rows of a month of the source, as its file would hold them. UserError as `from_source`."""
    return tables.frame(from_source(month, contract))


def of_month(month: str, folder: Path | None = None, contract: Contract = CONTRACT) -> pd.DataFrame:
    """The rows of a month with their features; raw rows are of FOLDER/MONTH.parquet where that is
    there, else of the source. UserError where neither has the month.
    """

    def of_folder(name: str) -> pd.DataFrame:
        file = None if folder is None else months.path(folder, name)
        if file is not None and (file.is_file() or name == month):
            return months.read(file.parent, name, name, contract)
        return read(name, contract)

    return with_features(month, of_folder, contract)


def with_features(month: str, read: rows.Read, contract: Contract = CONTRACT) -> pd.DataFrame:
    """The rows of a month with their features, made of what `read` gives of it and of the days before."""
    return rows.of_month(month, known(), read, features.build, rows.history_days(features), contract)
