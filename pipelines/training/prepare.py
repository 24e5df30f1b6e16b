"""Stage 2: the months of data/ become one table of features, as the model takes them."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.base.console import step
from pipelines.base.errors import Refused, UserError
from pipelines.core import datafiles, features, tables, words
from pipelines.core.contract import Contract
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.training import table


def run(params: Params, problem: Problem, folder: Path = datafiles.DATA, out: Path = table.PREPARED) -> None:
    """Write build/prepared.parquet: key, time, label, slices and features of every row, labelled or not.

    UserError where a feature is infinite, or looks back farther than features.py says."""
    contract = problem.contract
    raw = datafiles.read(folder, params.data.first, params.data.through, contract)
    built = features.built(raw, problem)
    _finite(built, folder, params.data.first, contract)
    features.check_history(raw, built, problem)
    rows = as_the_model_takes_them(built, contract)
    tables.write(out, rows)
    step(f"{out}: {len(rows):,} rows, {rows[contract.label.name].notna().sum():,} with a label")


def prepare(raw: pd.DataFrame, problem: Problem) -> pd.DataFrame:
    """Rows of data files (whole days) as rows for the model. UserError where features.py leaves a feature
    out, Refused where a derived one leaves its range."""
    return as_the_model_takes_them(features.built(raw, problem), problem.contract)


def _finite(rows: pd.DataFrame, folder: Path, like: str, contract: Contract) -> None:
    """UserError for a feature that is infinite, also only in float32, as a ratio becomes where it divides by
    nothing: file, row and column."""
    for column in contract.features:
        if column.type == "number":
            values = rows[column.name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
            with np.errstate(over="ignore"):
                infinite = np.isinf(values.astype(np.float32))
            if infinite.any():
                row = int(infinite.argmax())
                where = datafiles.place(folder, rows[contract.time.name], row, like)
                by = ", made by pipelines/problem/features.py," if column.derived else ""
                raise UserError(
                    f"{where}: {column.name}{by} is {values[row]}, and the model takes finite numbers of 32 "
                    "bits: make it missing there"
                )


def as_the_model_takes_them(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Rows with features as rows for the model: numbers in float32, which is what it is given in production
    too, categories as str. Refused where a derived feature leaves its range."""
    columns = dict.fromkeys(
        (contract.key, contract.time, contract.label, *contract.slices, *contract.groups, *contract.features)
    )
    _check_derived(rows, contract)
    kept = {}
    for column in columns:
        values = rows[column.name]
        if column.type in ("integer", "number") or (column.type == "flag" and not column.label):
            values = values.astype("Float64" if values.dtype == "boolean" else "float64").astype(np.float32)
        elif column.type == "words":  # data/ may be older than this type of it
            values = values.map(words.plain, na_action="ignore")
        kept[column.name] = values
    return pd.DataFrame(kept)


def _check_derived(rows: pd.DataFrame, contract: Contract) -> None:
    """The raw columns were validated; these are our own arithmetic: nothing excuses a value out of range."""
    for column in contract.derived:
        values = rows[column.name]
        share = float(values.isna().mean())
        if share > column.missing:
            raise Refused(
                f"{column.name}, made by features.py, is missing in {share:.1%} of the rows; columns.py "
                f"allows {column.missing:.1%}"
            )
        if column.minimum is not None and (values < column.minimum).any():
            raise Refused(f"{column.name}, made by features.py, is {values.min()}, below {column.minimum}")
        if column.maximum is not None and (values > column.maximum).any():
            raise Refused(f"{column.name}, made by features.py, is {values.max()}, above {column.maximum}")
