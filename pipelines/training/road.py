"""The rows of this repository's own problem: core/rows.py with its source, features and contract."""

from pathlib import Path

import pandas as pd

from pipelines.contract import Contract
from pipelines.core import room, rows
from pipelines.errors import UserError
from pipelines.problem import features, source
from pipelines.problem.columns import CONTRACT
from pipelines.training import months


def known() -> list[str]:
    """The months that the source has, oldest first."""
    return room.months(source.months)


def from_source(month: str, contract: Contract = CONTRACT) -> bytes:
    """The month's file, as the source gives it now. UserError where that does not fit columns.py."""
    table = room.call(source.read, month)
    if not isinstance(table, pd.DataFrame):
        raise UserError(
            f"pipelines/problem/source.py: read() must return a table, not {type(table).__name__}"
        )
    names = {column.name for column in contract.raw}
    if wrong := sorted(names.symmetric_difference(table.columns), key=str):
        verb = "lacks" if wrong[0] in names else "has the unknown"
        raise UserError(
            f"pipelines/problem/source.py: {month} {verb} column {wrong[0]}; columns.py names them"
        )
    try:
        content = months.to_csv(table, contract)
        months.parse(content, Path(f"{month}.csv"), month, contract)  # what is written can be read back
    except (ValueError, TypeError, AttributeError, UserError) as error:
        raise UserError(f"pipelines/problem/source.py: {month} does not fit columns.py: {error}") from None
    return content


def of_month(month: str, folder: Path | None = None, contract: Contract = CONTRACT) -> pd.DataFrame:
    """The rows of a month with their features; raw rows are of FOLDER/MONTH.csv where that is there, else of
    the source. UserError where neither has the month.
    """

    def read(name: str) -> pd.DataFrame:
        file = None if folder is None else months.path(folder, name)
        if file is not None and (file.is_file() or name == month):
            return months.read(file.parent, name, name, contract)
        return months.parse(from_source(name, contract), Path(f"{name}.csv"), name, contract)

    return rows.of_month(month, known(), read, features.build, rows.history_days(features), contract)
