"""The two windows of params.yaml, and what each must hold before anything long begins: both answers."""

import numpy as np
import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import periods, tasks
from pipelines.core.contract import Contract
from pipelines.core.params import Params
from pipelines.training import table


def both_answers(params: Params, rows: pd.DataFrame, contract: Contract) -> None:
    """UserError where the rows to train on, or those that judge, have no label or only one kind of it, or
    those to train on lack one of several.

    A month alone may well lack one: a dry month, a rare event."""
    train = params.train
    trained = periods.within(rows[contract.time.name], train.first, train.last)
    later, span = table.later(params, rows, contract), f"{train.first} to {train.last}"
    known = _both(rows[trained], contract, span, "to train on", "train.first or train.last")
    if absent := tasks.of(contract).absent(known):
        raise UserError(
            f"{contract.label.name} is never {absent[0]} in {span}, and a model knows only what it has seen: "
            "move train.first or train.last in params.yaml, or take that value out of columns.py"
        )
    keys = "train.last, or data.through once newer months are in data/,"
    _both(later, contract, f"the months after {train.last}", "to judge the model by", keys)


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
