"""The rows of this repository's own problem: core/rows.py with its source, features and contract."""

from pathlib import Path

import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import room, rows
from pipelines.core.contract import Contract
from pipelines.problem import features, source
from pipelines.problem.columns import CONTRACT
from pipelines.training import months


def known() -> list[str]:
    """The months that the source has, oldest first."""
    return room.months(source.months)


def from_source(month: str, contract: Contract = CONTRACT) -> bytes:
    """The month's file, as the source gives it now. UserError where that does not fit columns.py."""
    return _file(month, contract)[0]


def _file(month: str, contract: Contract) -> tuple[bytes, pd.DataFrame]:
    """A month's file, and the rows that are read back from it."""
    table = room.call(source.read, month)
    if not isinstance(table, pd.DataFrame):
        raise UserError(
            f"pipelines/problem/source.py: read() must return a table, not {type(table).__name__}"
        )
    names = {column.name for column in contract.raw}
    if wrong := sorted(names.symmetric_difference(table.columns), key=str):
        lacks = (
            f"lacks column {wrong[0]}: give it, or mark it derived in columns.py and make it in features.py"
        )
        unknown = f"has the unknown column {wrong[0]}; columns.py names them"
        raise UserError(f"pipelines/problem/source.py: {month} {lacks if wrong[0] in names else unknown}")
    try:
        content = months.to_csv(table, contract)
        return content, months.parse(content, Path(f"{month}.csv"), month, contract)
    except (ValueError, TypeError, AttributeError, UserError) as error:
        raise UserError(f"pipelines/problem/source.py: {month} does not fit columns.py: {error}") from None


def read(month: str, contract: Contract = CONTRACT) -> pd.DataFrame:
    """The raw rows of a month of the source, as its file would hold them. UserError as `from_source`."""
    return _file(month, contract)[1]


def of_month(month: str, folder: Path | None = None, contract: Contract = CONTRACT) -> pd.DataFrame:
    """The rows of a month with their features; raw rows are of FOLDER/MONTH.csv where that is there, else of
    the source. UserError where neither has the month.
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
