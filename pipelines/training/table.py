"""The table of features, build/prepared.parquet: its file, its parts and what each must hold, and how the
model takes its rows."""

from pathlib import Path
from typing import Any

import numpy as np
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


def both_answers(params: Params, rows: pd.DataFrame, contract: Contract) -> None:
    """UserError where the rows to train on, or those that judge, have no label or only one kind of it, or
    those to train on lack one of several.

    A month alone may well lack one: a dry month, a rare event."""
    train = params.train
    trained = periods.within(rows[contract.time.name], train.first, train.last)
    span = f"{train.first} to {train.last}"
    known = _both(rows[trained], contract, span, "to train on", "train.first or train.last")
    if absent := tasks.of(contract).absent(known):
        raise UserError(
            f"{contract.label.name} is never {absent[0]} in {span}, and a model knows only what it has seen: "
            "move train.first or train.last in params.yaml, or take that value out of columns.py"
        )
    keys = "train.last, or data.through once newer months are in data/,"
    after = f"the months after {train.last}"
    _both(later(params, rows, contract), contract, after, "to judge the model by", keys)


def _both(rows: pd.DataFrame, contract: Contract, when: str, why: str, keys: str) -> np.ndarray:
    label = contract.label.name
    task, found = tasks.of(contract), rows[label].dropna()
    if found.empty:
        raise UserError(f"{label} has no value in {when}, {why}: move {keys} in params.yaml")
    if lacking := task.lacks(labels := task.labels(found)):
        raise UserError(
            f"{label} is always {lacking[0]} in {when} ({len(found):,} rows), and "
            f"{why} {lacking[1]} are needed: move {keys} in params.yaml"
        )
    return labels
