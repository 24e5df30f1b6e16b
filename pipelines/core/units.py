"""What the bootstrap draws: days, since all rows of a day share its weather, or what params.yaml: gate.unit
says, weeks or months; or the groups that columns.py names, such as customers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import stats
from pipelines.core.contract import Contract
from pipelines.core.params import Unit

MOST = 250  # pairs of units are counted; more groups are dealt out to as many, which spreads alike
FEWEST = 7  # weeks or months: of fewer a bootstrap is too sure, as of fewer days, which gate.days forbids


@dataclass(frozen=True)
class Units:
    """The unit of each row, 0..count-1, and how many neighbours are drawn together."""

    of: np.ndarray  # (n,)
    count: int
    block: int = stats.BLOCK
    name: str = "days"

    def weights(self, resamples: int, seed: int) -> np.ndarray:
        """How often each unit is drawn: (resamples, count). NaN of one alone, which tells of no other."""
        if self.count < 2:
            return np.full((resamples, self.count), np.nan)
        return stats.day_weights(self.count, resamples, seed, self.block)

    def least(self, days: int) -> int:
        """How many are needed where so many days are: as many groups, and of weeks and months FEWEST."""
        return min(days, FEWEST) if self.name in ("weeks", "months") else days


def of(rows: pd.DataFrame, contract: Contract, unit: Unit) -> Units:
    """The units of these rows. Groups, weeks (from Monday) and months have no neighbours; a row without a
    group is one of its own. UserError where both groups and weeks or months are asked for."""
    if not contract.groups:
        period = rows[contract.time.name].dt.to_period(unit[0].upper())
        code, names = pd.factorize(period, sort=True)
        return Units(code, len(names), stats.BLOCK if unit == "day" else 1, f"{unit}s")
    if unit != "day":
        both = f"gate.unit is {unit}, and {contract.groups[0].name} of columns.py is a group"
        raise UserError(f"params.yaml: {both}: rows are drawn by one of the two, so take the other out")
    code, names = pd.factorize(rows[contract.groups[0].name])
    nameless = code < 0
    code[nameless] = len(names) + np.arange(nameless.sum())
    count = len(names) + int(nameless.sum())
    if count > MOST:
        code = (np.random.default_rng(count).permutation(count) % MOST)[code]
    return Units(code, min(count, MOST), block=1, name="groups")
