"""What is wrong with the data that production sees, as distinct from a world that has changed.

A season moves the weather far outside of a training window that had no summer: in July 2013 five features
are above any threshold that January to May suggest, and nothing is wrong. So a fault is not looked for
against the training window but against the same month as the source records it afterwards: the season is
then on both sides, and what remains is a difference between what was served and what is trained on
(training-serving skew; Breck et al. 2019, Data Validation for Machine Learning, section 4).
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from pipelines.artifacts.drift import Fault
from pipelines.core import features, stats
from pipelines.core.contract import Column, Contract
from pipelines.report import markdown

ROWS = 100  # of fewer predictions nothing is said
SKEW = 0.01  # the share of predictions that may have seen another value: sources correct a few later
OUTSIDE = 0.001  # the share that may be outside of the contract's range: 0.00008 of February's winds do


def find(
    joined: pd.DataFrame, table: pd.DataFrame, bins: Mapping[str, stats.Bins], psi: float, contract: Contract
) -> list[Fault]:
    """The faults of a month, at most one a feature, the plainest first.

    `joined` are the month's predictions (see `labels.join`), `table` its events. Only days with predictions
    are compared, so that a month that has just begun is not a fault."""
    if len(joined) < ROWS:
        return []
    served = joined[contract.time.name].dt.normalize().unique()
    asked = table[table[contract.time.name].dt.normalize().isin(served)]
    found = []
    for column in contract.loggable:
        seen, recorded = joined[f"{column.name}_seen"], joined[column.name]
        sentence = (
            _missing(column, seen)
            or _outside(column, seen)
            or _skewed(column, seen, recorded)
            or _elsewhere(bins[column.name], recorded, asked[column.name], psi)
        )
        if sentence:
            found.append(Fault(feature=column.name, sentence=sentence))
    return found


def _missing(column: Column, seen: pd.Series) -> str:
    if (share := float(seen.isna().mean())) <= column.missing:
        return ""
    allowed = _percent(column.missing)
    return f"{_percent(share)} of the predictions had no value; the contract allows {allowed}"


def _outside(column: Column, seen: pd.Series) -> str:
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    if column.type == "category":
        return ""
    outside = (seen < low) | (seen > high)
    if outside.mean() <= OUTSIDE:
        return ""
    share, value = _percent(outside.mean()), seen[outside].iloc[0]
    return f"{share} of the predictions saw a value outside of {low:g} to {high:g}, such as {value:g}"


def _skewed(column: Column, seen: pd.Series, recorded: pd.Series) -> str:
    if column.type == "category":
        seen, recorded = seen.astype("object"), recorded.astype("object")
    other = ~features.same(column, seen, recorded)
    if (share := float(other.mean())) <= SKEW:
        return ""
    pair = "{} where it says {}".format(*(_text(values[other].iloc[0]) for values in (seen, recorded)))
    return f"{_percent(share)} of the predictions saw another value than the source records ({pair})"


def _elsewhere(bins: stats.Bins, asked: pd.Series, all_of_them: pd.Series, psi: float) -> str:
    """Events of some kind that happened, and that nobody asked about: a feed is lost."""
    expected, observed = (bins.frequencies(values.to_numpy(dtype=object)) for values in (all_of_them, asked))
    # What chance alone adds to a PSI, (bins - 1)(1/n + 1/m) (Yurdakul 2018), counts for nothing.
    chance = (len(expected) - 1) * (1 / len(asked) + 1 / len(all_of_them))
    if stats.psi(expected, observed) - chance <= psi:
        return ""
    most = int(np.argmax(np.abs(observed - expected)))
    names = [*bins.values, "other values"] if bins.values else _ranges(bins.edges)
    what, (of_all, of_ours) = [*names, "missing values"][most], (expected[most], observed[most])
    return f"{what} are {_percent(of_all)} of the month's events but {_percent(of_ours)} of the predictions"


def _ranges(edges: tuple[float, ...]) -> list[str]:
    if not edges:
        return ["values"]
    between = [f"values from {low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"values below {edges[0]:g}", *between, f"values from {edges[-1]:g}"]


def _text(value: str | float) -> str:
    """Any caller may have sent it, and an issue shows it."""
    if value is None or value != value:
        return "nothing"
    return markdown.text(value, 40) if isinstance(value, str) else f"{value:g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
