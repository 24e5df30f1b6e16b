"""The table of features, build/prepared.parquet: its file, its parts, and how the model takes its rows."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import periods, tables, tasks
from pipelines.core.contract import Contract
from pipelines.core.model import Inputs, encode
from pipelines.core.params import Params

PREPARED = Path("build/prepared.parquet")


def load(path: Path = PREPARED) -> pd.DataFrame:
    """Read what `ml stage prepare` wrote. UserError where it is not there."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: run `dvc repro`, which makes it")
    return tables.read(path)


def training(params: Params, rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The rows with a label of train.first to train.last. UserError where there are none, or the
    rows are of another contract."""
    if missing := [column.name for column in contract.features if column.name not in rows]:
        raise UserError(f"{PREPARED} has no column {missing[0]}, which columns.py has: run `ml reproduce`")
    train = params.train
    inside = periods.within(rows[contract.time.name], train.first, train.last)
    found = rows[inside & rows[contract.label.name].notna()]
    if found.empty:
        raise UserError(f"params.yaml: train: no labelled row from {train.first} to {train.last}")
    return found


def constant(rows: pd.DataFrame, contract: Contract) -> Any:
    """What one would say of labelled rows without a model."""
    task = tasks.of(contract)
    return task.constant(task.labels(rows[contract.label.name]))


def later(params: Params, rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The test window: the rows after train.last, labelled or not; data/ has whole periods, so whole days."""
    return rows[rows[contract.time.name] >= periods.end(params.train.last)]


def inputs(rows: pd.DataFrame, contract: Contract) -> Inputs:
    """The features of `rows` as the ONNX model takes them."""
    return {column.name: encode(column, rows[column.name].to_numpy()) for column in contract.features}
