"""A made-up diary of the weather, 2010 to 2013: the same each time."""

from functools import cache

import numpy as np
import pandas as pd

DAYS = pd.date_range("2010-01-01", "2013-12-31")


def months() -> list[str]:
    return sorted(set(DAYS.strftime("%Y-%m")))


def read(month: str) -> pd.DataFrame:
    diary = _diary()
    return diary[diary["evening"].dt.strftime("%Y-%m") == month].reset_index(drop=True)


@cache
def _diary() -> pd.DataFrame:
    """A low comes and goes within days; the rain follows it by a day, and none falls from June to August."""
    chance = np.random.default_rng(1)
    low = np.zeros(len(DAYS) + 1)
    for day in range(1, len(low)):
        low[day] = 0.7 * low[day - 1] + chance.normal()
    wet = chance.random(len(low)) < 1 / (1 + np.exp(1.5 - 1.6 * np.roll(low, 1)))
    dry = np.isin(np.append(DAYS.month, 1), (6, 7, 8))
    rain = np.round(np.where(wet & ~dry, chance.gamma(1.5, 4.0, len(low)) + 0.2, 0.0), 1)
    pressure = np.round(1015 - 6 * low + chance.normal(0, 1.5, len(low)), 1)
    pressure[chance.random(len(low)) < 0.01] = np.nan  # the barometer was not read
    to_come = np.append(rain[1:-1], np.nan)  # the diary ends, and what comes is not known yet
    return pd.DataFrame(
        {
            "day": DAYS.strftime("%Y-%m-%d"),
            "evening": DAYS + pd.Timedelta(hours=18),
            "wind_from": chance.choice(["north", "east", "south", "west"], len(DAYS)),
            "pressure": pressure[:-1],
            "rain": rain[:-1],
            "rain_to_come": to_come,
            "wet": pd.Series(to_come > 0, dtype="boolean").mask(np.isnan(to_come)),
        }
    )
