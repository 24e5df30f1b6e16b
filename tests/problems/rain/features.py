"""The derived columns of the contract."""

import pandas as pd


def build(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.assign(
        hour_of_day=raw["observed_at"].dt.hour,
        barometer_change=raw["barometer"] - raw.groupby("station")["barometer"].shift(3),
    )
