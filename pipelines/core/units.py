"""What the bootstrap draws: days, since all rows of a day share its weather, or the groups that columns.py
names, such as customers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines.core import stats
from pipelines.core.contract import Contract

MOST = 250  # pairs of units are counted; more groups are dealt out to as many, which spreads alike


@dataclass(frozen=True)
class Units:
    """The unit of each row, 0..count-1, and how many neighbours are drawn together."""

    of: np.ndarray  # (n,)
    count: int
    block: int = stats.BLOCK

    def weights(self, resamples: int, seed: int) -> np.ndarray:
        """How often each unit is drawn: (resamples, count)."""
        return stats.day_weights(self.count, resamples, seed, self.block)


def of(rows: pd.DataFrame, contract: Contract) -> Units:
    """The units of these rows. Groups have no neighbours; one without a name is a group of its own."""
    if not contract.groups:
        day, days = pd.factorize(rows[contract.time.name].dt.normalize(), sort=True)
        return Units(day, len(days))
    code, names = pd.factorize(rows[contract.groups[0].name])
    nameless = code < 0
    code[nameless] = len(names) + np.arange(nameless.sum())
    count = len(names) + int(nameless.sum())
    if count > MOST:
        code = (np.random.default_rng(count).permutation(count) % MOST)[code]
    return Units(code, min(count, MOST), block=1)
