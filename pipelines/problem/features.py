"""The derived columns of the contract, made from the raw ones; nothing here may look past the horizon."""

import pandas as pd

HISTORY_DAYS = 0  # so many days before a row build() looks back, as by shift or rolling


def build(raw: pd.DataFrame) -> pd.DataFrame:
    """`raw` (rows of data files, whole days) with the derived columns added; the rows keep their order."""
    departure = raw["scheduled_departure"]
    return raw.assign(
        departure_minute=departure.dt.hour * 60 + departure.dt.minute,
        day_of_week=departure.dt.dayofweek,
        departures_in_hour=raw.groupby(["origin", departure.dt.floor("h")])["origin"].transform("size"),
    )
