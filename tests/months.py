"""Months of data/ as `ml ingest` writes them, of made rows."""

from pathlib import Path

import pandas as pd

from pipelines.base.files import write_bytes
from pipelines.core import datafiles, rows, tables
from pipelines.core.contract import Contract
from tests.problems.parcels.columns import CONTRACT


def in_order(table: pd.DataFrame, contract: Contract = CONTRACT) -> pd.DataFrame:
    """Sorted by time and key, as data files are."""
    return table.sort_values([contract.time.name, contract.key.name], kind="stable", ignore_index=True)


def write_month(folder: Path, month: str, table: pd.DataFrame, contract: Contract = CONTRACT) -> Path:
    """The file of that month in `folder`."""
    return write_bytes(datafiles.path(folder, month), tables.encoded(rows.typed(table, month, contract)))
