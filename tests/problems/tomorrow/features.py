"""The derived columns of the contract."""

import pandas as pd

HISTORY_DAYS = 2


def build(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.assign(
        pressure_change=raw["pressure"].diff(),
        rain_of_three_days=raw["rain"].rolling(3, min_periods=1).sum(),
    )
