"""The derived columns of the contract."""

import pandas as pd

HISTORY_DAYS = 0


def build(raw: pd.DataFrame) -> pd.DataFrame:
    departure = raw["departure"]
    return raw.assign(
        departure_minute=departure.dt.hour * 60 + departure.dt.minute,
        day_of_week=departure.dt.dayofweek,
        departures_in_hour=raw.groupby(["depot", departure.dt.floor("h")])["depot"].transform("size"),
    )
