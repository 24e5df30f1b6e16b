"""The test window's rows as the judge sees them: by the base's source and code, not as a build left them."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import periods, tasks, units, words
from pipelines.core import rows as road
from pipelines.core.contract import Column, Contract
from pipelines.core.params import Data, Unit
from pipelines.core.problem import Problem
from pipelines.core.units import Units

SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class Window:
    """The test window's labelled rows, in time's order, as the base's code reads them."""

    days: tuple[str, ...]  # D days
    day: np.ndarray  # (n,) 0..D-1
    label: np.ndarray  # (n,), as the task has them
    rows: pd.DataFrame  # (n) key, time and slices
    drawn: Units | None = None  # where it is not days

    @property
    def units(self) -> Units:
        """What a resample of the window draws."""
        return self.drawn or Units(self.day, len(self.days))


def read(data: Data, problem: Problem) -> pd.DataFrame:
    """The months that a params.yaml names, as the base's source has them; in order, as data files are.
    UserError where the source lacks one, or has what does not fit columns.py."""
    has = road.known(problem)
    if data.first not in has or data.through not in has:
        named = f"params.yaml: data names {data.first} to {data.through}"
        raise UserError(f"{named}, and the source has {has[0]} to {has[-1]}")
    months = [road.read(month, problem) for month in has if data.first <= month <= data.through]
    return pd.concat(months, ignore_index=True)


def window(raw: pd.DataFrame, first: str, contract: Contract, unit: Unit = "day") -> Window:
    """The test window: the labelled rows of the day `first` and after it, of which `unit` is drawn."""
    label, time = contract.label.name, contract.time.name
    later = raw[(raw[time] >= pd.Timestamp(first)) & raw[label].notna()]
    day, days = pd.factorize(later[time].dt.strftime("%Y-%m-%d"), sort=True)
    names = [contract.key.name, time, *(column.name for column in contract.slices)]
    known = later[[name for name in names if name in later.columns]].reset_index(drop=True)
    drawn = units.of(later, contract, unit)
    return Window(tuple(days), day, tasks.of(contract).labels(later[label]), known, drawn)


def touched(window: Window, like: str) -> list[str]:
    """The periods of data/, such as `like`, that the test window touches, oldest first."""
    return sorted({periods.at(date.fromisoformat(day), like) for day in window.days})


def with_features(raw: pd.DataFrame, names: list[str], problem: Problem) -> pd.DataFrame:
    """Every row of the periods `names` with the base's features, which look back as far as features.py says,
    also to before `raw`, the months that were read already."""
    period = periods.names(raw[problem.contract.time.name], like=names[0])

    def at_hand(name: str) -> pd.DataFrame:
        found = raw[period == name]
        return road.read(name, problem) if found.empty else found

    return pd.concat([road.of_month(name, problem, at_hand) for name in names], ignore_index=True)


def differing(theirs: pd.DataFrame, source: pd.DataFrame, window: Window, contract: Contract) -> str | None:
    """The first raw column in which a window.parquet says otherwise of a labelled row than the source does. A
    number is compared as the model takes it, in float32, and nothing may be hidden below that: 2475 is not
    2475.0001."""
    key, tables = contract.key.name, (theirs, source)
    places = [pd.Index(table[key].astype(str)).get_indexer(pd.Index(window.rows[key])) for table in tables]
    both = (places[0] >= 0) & (places[1] >= 0)
    theirs, ours = (
        table.iloc[place[both]].reset_index(drop=True) for table, place in zip(tables, places, strict=True)
    )
    for column in contract.raw:
        if column.name not in theirs.columns or column.label:
            continue
        wrong = _wrong(theirs[column.name], ours[column.name], column)
        if wrong.any():
            place = int(wrong.argmax())
            key = str(ours[contract.key.name].iloc[place])[:SHOWN]
            shown = (str(rows[column.name].iloc[place])[:SHOWN] for rows in (theirs, ours))
            given, true = shown if column.loggable or not column.is_text else ("one text", "another")
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
        same = (given == true) & (np.signbit(given) == np.signbit(true))  # a model can tell -0.0 from 0.0
        return ~(same | (np.isnan(given) & np.isnan(true)))
    if column.type == "time":
        if not pd.api.types.is_datetime64_dtype(theirs):  # a text, a number or a zone leaves it open
            return np.ones(len(ours), dtype=bool)
        return np.asarray(theirs.to_numpy() != ours.to_numpy())
    one, other = (v.astype(object).where(v.notna(), "").astype(str) for v in (theirs, ours))
    if column.type in ("words", "text"):  # a proposal may make one of the other
        one, other = one.map(words.plain), other.map(words.plain)
    return np.asarray(one.to_numpy() != other.to_numpy())


def _numbers(values: pd.Series) -> np.ndarray:
    values = values.astype("Float64") if values.dtype == "boolean" else values
    return values.to_numpy(dtype=np.float64, na_value=np.nan)
