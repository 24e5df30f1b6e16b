"""Made-up looks at pumps, by a plan: the same each time. What is warm and shakes stops sooner."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Plan:
    """How often pumps are looked at, and how seldom they stop."""

    first: str
    last: str
    every: int = 1  # days
    rows: int = 1  # of such a day
    logit: float = -0.5  # of a pump of which nothing is known


RARE = Plan("2013-01-01", "2013-09-30", rows=40, logit=-6.8)  # one in 200
WEEKLY = Plan("2012-01-02", "2013-12-31", every=7, rows=20)
DAILY = Plan("2011-01-01", "2013-12-31")
PLAN = DAILY


def months() -> list[str]:
    return sorted(set(_looks(PLAN)["time"].dt.strftime("%Y-%m")))


def read(month: str) -> pd.DataFrame:
    looks = _looks(PLAN)
    return looks[looks["time"].dt.strftime("%Y-%m") == month].reset_index(drop=True)


@cache
def _looks(plan: Plan) -> pd.DataFrame:
    draw = np.random.default_rng(3)
    days = pd.date_range(plan.first, plan.last, freq=f"{plan.every}D")
    count = len(days) * plan.rows
    time = days.repeat(plan.rows) + pd.to_timedelta(np.tile(np.arange(plan.rows), len(days)) * 30, "min")
    numbers = {name: np.round(draw.normal(size=count), 3) for name in ("heat", "shake", "noise", "flow")}
    told = plan.logit + 1.2 * numbers["heat"] + 1.2 * numbers["shake"]
    luck = np.repeat(draw.normal(0, 0.3, len(days)), plan.rows)
    return pd.DataFrame(
        {
            "look": time.strftime("%Y-%m-%d %H:%M"),
            "time": time,
            "hall": draw.choice(["north", "south"], count),
            **numbers,
            "stopped": pd.Series(draw.random(count) < 1 / (1 + np.exp(-told - luck)), dtype="boolean"),
        }
    )
