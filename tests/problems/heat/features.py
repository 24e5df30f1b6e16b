"""The derived columns of the contract."""

import pandas as pd

HISTORY_DAYS = 3  # three observations back, and a station may fall silent for a day


def build(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.assign(
        hour_of_day=raw["observed_at"].dt.hour,
        air_change=raw["air"] - raw.groupby("station")["air"].shift(3),
    )
