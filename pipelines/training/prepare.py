"""Stage 2: the months of data/ become one table of features, as the model takes them."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.console import step
from pipelines.contract import Contract
from pipelines.errors import Refused, UserError
from pipelines.params import Params
from pipelines.problem import features
from pipelines.problem.columns import CONTRACT
from pipelines.training import months

PREPARED = Path("build/prepared.parquet")


def run(params: Params, folder: Path = months.DATA, out: Path = PREPARED) -> None:
    """Write build/prepared.parquet: key, time, label, slices and features of every row, labelled or not."""
    raw = months.read(folder, params.data.first, params.data.through)
    table = prepare(raw)
    save(table, out)
    step(f"{out}: {len(table):,} rows, {table[CONTRACT.label.name].notna().sum():,} with a label")


def prepare(raw: pd.DataFrame, contract: Contract = CONTRACT) -> pd.DataFrame:
    """Rows of data files (whole days) as rows for the model: numbers in float32, which is what it is given in
    production too, categories as str. UserError where features.py leaves a feature out, Refused where a
    derived one leaves its range.
    """
    table = features.build(raw)
    if len(table) != len(raw) or not table[contract.key.name].equals(raw[contract.key.name]):
        raise UserError("pipelines/problem/features.py: build() must keep the rows and their order")
    columns = dict.fromkeys((contract.key, contract.time, contract.label, *contract.slices, *contract.features))
    if absent := [column.name for column in columns if column.name not in table.columns]:
        raise UserError(
            f"pipelines/problem/features.py: build() makes no {absent[0]}, which columns.py calls a feature"
        )
    _check_derived(table, contract)
    kept = {}
    for column in columns:
        values = table[column.name]
        if column.type in ("integer", "number") or (column.type == "flag" and not column.label):
            values = values.astype("Float64" if values.dtype == "boolean" else "float64").astype(np.float32)
        kept[column.name] = values
    return pd.DataFrame(kept)


def _check_derived(table: pd.DataFrame, contract: Contract) -> None:
    """The raw columns were validated; these are our own arithmetic, so nothing excuses a value out of range."""
    for column in contract.derived:
        values = table[column.name]
        share = float(values.isna().mean())
        if share > column.missing:
            raise Refused(
                f"{column.name}, made by features.py, is missing in {share:.1%} of the rows; columns.py allows "
                f"{column.missing:.1%}"
            )
        if column.minimum is not None and (values < column.minimum).any():
            raise Refused(f"{column.name}, made by features.py, is {values.min()}, below {column.minimum}")
        if column.maximum is not None and (values > column.maximum).any():
            raise Refused(f"{column.name}, made by features.py, is {values.max()}, above {column.maximum}")


def save(table: pd.DataFrame, out: Path) -> None:
    """Write a table as Parquet, in one step; the same table gives the same bytes."""
    from pipelines.files import write_bytes

    write_bytes(out, table.to_parquet(index=False))


def load(path: Path = PREPARED) -> pd.DataFrame:
    """Read such a table. UserError where it is not there."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: run `dvc repro`, which makes it")
    return pd.read_parquet(path)
