"""The days of a table: those to which undated rows are dealt, and the months that train and judge."""

import numpy as np
import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import periods
from pipelines.core.tasks.task import Task
from pipelines.training import validate

MONTHS = 6  # to which undated rows are dealt
LEAST_DAYS, LEAST_SHARE = 28, 0.2  # that judge
SEED = 0
MOST = 60  # months, before data/ has a file a year
FORMATS: dict[periods.Grain, str] = {"month": "%Y-%m", "year": "%Y", "week": "%G-W%V", "day": "%Y-%m-%d"}
LIKE: dict[periods.Grain, str] = {"month": "2013-01", "year": "2013", "week": "2013-W01", "day": "2013-01-01"}


def span() -> tuple[pd.Timestamp, int]:
    """The first day, and how many, of the last months that are over."""
    this = pd.Timestamp.now().normalize().replace(day=1)
    first = this - pd.DateOffset(months=MONTHS)
    return first, (this - first).days


def dealt(count: int, first: pd.Timestamp, days: int, shuffled: bool) -> pd.Series:
    """A day for each of `count` rows, as many rows a day: in their order, or in a random one."""
    order = np.random.default_rng(SEED).permutation(count) if shuffled else np.arange(count)
    return pd.Series(first + pd.to_timedelta(order * days // count, unit="D")).astype("datetime64[us]")


def is_sorted(values: pd.Series) -> bool:
    """Whether equal values of a label stand together, or rise or fall on the whole: then the order of the
    rows is no order of time."""
    codes = pd.factorize(values.dropna(), sort=True)[0]
    kinds = int(codes.max(initial=0)) + 1
    together = kinds <= len(codes) / 10 and 1 + (np.diff(codes) != 0).sum() <= 2 * kinds
    return bool(together or abs(np.corrcoef(codes, np.arange(len(codes)))[0, 1]) > 0.5)


def grain(time: pd.Series) -> periods.Grain | None:
    """The periods of data/ that suit: months, where there are some, not too many; None where none do."""
    if not {time.min().year, time.max().year} <= set(periods.YEARS):  # 9999-12-31 is "never", and no event
        return None
    suits = 2 <= len(whole(time, "month")) <= MOST
    order: list[periods.Grain] = ["month"] if suits else ["year", "month", "week", "day"]
    return next((kind for kind in order if len(whole(time, kind)) > 1), None)


def whole(time: pd.Series, kind: periods.Grain) -> list[str]:
    """The longest run of periods, by rows, that the stage validate would take; the newest of equals."""
    first, last = (periods.at(end, LIKE[kind]) for end in (time.min(), time.max()))
    of = pd.Series(periods.names(time, first), time.index)
    parts = {name: time[of == name] for name in periods.between(first, last)}
    while parts:
        least = validate.least_days(parts)
        bad = {name for name, days in parts.items() if days.dt.normalize().nunique() < max(least[name], 1)}
        if not bad:
            break
        run: dict[str, pd.Series] = {}
        runs = [run := ({} if name in bad else run | {name: days}) for name, days in parts.items()]
        parts = max(reversed(runs), key=lambda one: sum(map(len, one.values())))
    return list(parts)


def windows(time: pd.Series, label: pd.Series, task: Task, kind: periods.Grain, least: int) -> list[str]:
    """data.first, train.last and data.through: the newest periods, as few as have `least` days,
    LEAST_SHARE of the rows and what the label needs, judge; at most two thirds. UserError where a label says
    the same in all that would train or judge."""
    run = whole(time, kind)
    inside = periods.within(time, run[0], run[-1]) & label.notna()
    found, days = task.labels(label[inside]), time[inside]
    fine: list[tuple[bool, bool, int, str]] = []
    for place, last in enumerate(run[-2 : len(run) // 3 : -1] or run[:1]):
        later = (~periods.within(days, run[0], last)).to_numpy()
        parts = (found[later], found[~later])
        if all(len(part) and not task.lacks(part) for part in parts):
            many = days[later].dt.normalize().nunique() >= least and later.mean() >= LEAST_SHARE
            fine.append((many, not any(map(task.absent, parts)), -place if many else place, last))
    if not fine:
        raise UserError(
            f"{label.name} always says the same in the rows that would train, or in those that would judge, "
            f"from {run[0]} to {run[-1]}: `--time none` deals the rows to days"
        )
    return [run[0], max(fine)[-1], run[-1]]
