"""Parcels of one year, drawn from a seed.

Each day has a luck of its own, which no column tells; from July on the months differ from those before.
"""

from functools import cache

import numpy as np
import pandas as pd

PARCELS_A_DAY = 300
LATE = 15.0  # minutes
CARRIERS = {"Amber": -0.6, "Birch": -0.2, "Cedar": 0.0, "Dune": 0.3, "Ember": 0.8, "Fern": 0.0}
SHARES = {"Fern": 0.005}  # a carrier with too few parcels to judge; the others share the rest alike
DEPOTS = {"North": 0.3, "Port": 0.0, "West": -0.3}
TOWNS = {f"Town {number:02}": np.sin(number) / 2 for number in range(30)}
SUMMER = (7, 8)
MONTH = dict.fromkeys(range(1, 13), 0.0) | {7: 0.3, 8: -0.1, 9: -0.9, 10: -0.6, 11: -0.5, 12: 0.8}
MISSING = {"temperature": 0.01, "humidity": 0.01, "wind_speed": 0.01, "precipitation": 0.01, "pressure": 0.1}


def months() -> list[str]:
    return [f"2013-{month:02}" for month in range(1, 13)]


@cache
def _drawn(month: str) -> pd.DataFrame:
    number = int(month[-2:])
    random = np.random.default_rng(number)
    days = pd.date_range(month, periods=pd.Period(month).days_in_month)
    day = np.repeat(np.arange(len(days)), PARCELS_A_DAY)
    count = len(day)
    minute = np.clip(random.normal(13 * 60, 4 * 60, count), 5 * 60, 23 * 60).astype(int)
    carrier, depot, town = (_choice(random, names, count) for names in (CARRIERS, DEPOTS, TOWNS))
    weather = _weather(random, number, days, day, minute)
    distance = np.round(np.clip(random.lognormal(4, 0.8, count), 2, 500))
    told = (
        carrier.map(CARRIERS)
        + depot.map(DEPOTS)
        + town.map(TOWNS)
        + (minute - 13 * 60) / 240 * 0.6
        + np.minimum(weather["precipitation"] * 12, 2.0)
        + (weather["humidity"] - 60) / 40
        + np.log(distance / 55) * 0.2
    )
    luck = random.normal(MONTH[number], 0.45, len(days))[day]
    delay = (told + luck - 1.75 + random.logistic(size=count)) * 30 + LATE
    back = random.random(count) < 0.03
    departure = days[day] + pd.to_timedelta(minute, "min")
    arrival = pd.Series(np.round(delay, 1)).mask(back)
    table = pd.DataFrame(
        {
            "parcel_id": departure.strftime("%Y-%m-%d ") + depot + [f" {n:05}" for n in range(count)],
            "departure": departure,
            "carrier": carrier,
            "depot": depot,
            "town": town,
            "distance": distance,
            **weather,
            "departure_delay": np.round(arrival * 0.8 + random.normal(0, 12, count), 1),
            "arrival_delay": arrival,
            "van": pd.Series([f"V{n}" for n in random.integers(0, 400, count)]).mask(back),
            "late": (arrival > LATE).astype("boolean").mask(back),
        }
    )
    for name, share in MISSING.items():
        table[name] = table[name].mask(random.random(count) < share)
    return table.assign(promised=np.minimum(minute + random.integers(60, 720, count), 1440) // 60 * 60)


def read(month: str) -> pd.DataFrame:
    return _drawn(month).copy()


def _choice(random: np.random.Generator, names: dict[str, float], count: int) -> pd.Series:
    shares = np.array([SHARES.get(name, 1.0) for name in names])
    shares[shares == 1] = (1 - shares[shares < 1].sum()) / (shares == 1).sum()
    return pd.Series(random.choice(list(names), count, p=shares)).astype(object)


def _weather(
    random: np.random.Generator, number: int, days: pd.DatetimeIndex, day: np.ndarray, minute: np.ndarray
) -> dict[str, np.ndarray]:
    """One weather for the three depots: of the hour that is two hours before."""
    of_day = {
        "temperature": 55 - 22 * np.cos(2 * np.pi * (number - 1) / 12) + random.normal(0, 7, len(days)),
        "humidity": random.normal(70 if number in SUMMER else 60, 12, len(days)),
        "wind_speed": random.gamma(4, 2.0 if number in SUMMER else 2.5, len(days)),
        "precipitation": random.gamma(0.25, 0.2, len(days)),
        "pressure": random.normal(1010 if number in SUMMER else 1016, 7, len(days)),
    }
    hours = minute // 60
    noise = {"temperature": 5.0, "humidity": 8.0, "wind_speed": 2.0, "precipitation": 0.0, "pressure": 1.0}
    limits = {"temperature": (-15, 115), "humidity": (5, 100), "wind_speed": (0, 60), "precipitation": (0, 3),
              "pressure": (960, 1055)}  # fmt: skip
    seen = {}
    for name, values in of_day.items():
        of_hour = values[:, None] + random.normal(0, noise[name] or 1.0, (len(days), 24)) * (noise[name] > 0)
        if name == "precipitation":
            of_hour = of_hour * (random.random((len(days), 24)) < 0.3)
        seen[name] = np.round(np.clip(of_hour, *limits[name]), 2)[day, hours]
    return seen
