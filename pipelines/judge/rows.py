"""V's rows as the judge sees them: by the base's source and code, not as a build left them."""

import numpy as np
import pandas as pd

from pipelines.contract import Column
from pipelines.problem.columns import CONTRACT

SHOWN = 60  # characters of a value


def differing(theirs: pd.DataFrame, ours: pd.DataFrame) -> str | None:
    """The first raw column in which rows of a window.parquet differ from the source; None where none does.

    Both are the same rows in the same order. A number is compared as the model takes it, in float32, and
    nothing may be hidden below that: 2475 is not 2475.0001.
    """
    for column in CONTRACT.raw:
        if column.name not in theirs.columns or column.label:
            continue
        wrong = _wrong(theirs[column.name], ours[column.name], column)
        if wrong.any():
            place = int(wrong.argmax())
            key = str(ours[CONTRACT.key.name].iloc[place])[:SHOWN]
            given, true = (str(rows[column.name].iloc[place])[:SHOWN] for rows in (theirs, ours))
            return (
                f"{column.name} of {key!r} is {given} in models/window.parquet and {true} in the source "
                f"({int(wrong.sum()):,} of {len(ours):,} rows differ)"
            )
    return None


def _wrong(theirs: pd.Series, ours: pd.Series, column: Column) -> np.ndarray:
    if column.type in ("integer", "number", "flag"):
        if not (pd.api.types.is_numeric_dtype(theirs) or pd.api.types.is_bool_dtype(theirs)):
            return np.ones(len(ours), dtype=bool)
        given, true = _numbers(theirs), _numbers(ours).astype(np.float32).astype(np.float64)
        return ~((given == true) | (np.isnan(given) & np.isnan(true)))
    if column.type == "time":
        given_time = pd.to_datetime(theirs, errors="coerce").to_numpy()
        return np.asarray(given_time != ours.to_numpy())
    return np.asarray(_texts(theirs) != _texts(ours))


def _numbers(values: pd.Series) -> np.ndarray:
    values = values.astype("Float64") if values.dtype == "boolean" else values
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _texts(values: pd.Series) -> np.ndarray:
    return values.astype(object).where(values.notna(), "").astype(str).to_numpy()
