"""The derived columns of the contract."""

import pandas as pd


def build(raw: pd.DataFrame) -> pd.DataFrame:
    leaves_at = raw["leaves_at"]
    return raw.assign(minute=leaves_at.dt.hour * 60 + leaves_at.dt.minute, weekday=leaves_at.dt.dayofweek)
