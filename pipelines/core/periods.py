"""Periods, of which data/ has a file each: months (2013-06) or, where source.py and params.yaml name such
ones, days (2013-06-03), weeks from Monday (2013-W23, ISO 8601) or years (2013).

A name says of which kind it is, and names of one kind are in time's order. What is shown of a model by time,
and what the drift check judges, are months whatever the files are."""

import re
from datetime import date, datetime, timedelta
from typing import Any, Literal

from pipelines.base.errors import UserError

Grain = Literal["day", "week", "month", "year"]

YEARS = range(1678, 2262)  # that a time of nanoseconds can have
NAMES: dict[Grain, re.Pattern[str]] = {
    "day": re.compile(r"\d{4}-\d\d-\d\d"),
    "week": re.compile(r"\d{4}-W\d\d"),
    "month": re.compile(r"\d{4}-\d\d"),
    "year": re.compile(r"\d{4}"),
}


def grain(name: str) -> Grain:
    """The kind of period that this is the name of. ValueError where it is none, or not in the calendar."""
    found = next((kind for kind, form in NAMES.items() if form.fullmatch(name)), None)
    if found is None:
        known = "a month such as 2013-06, a day (2013-06-03), a week (2013-W23) or a year (2013)"
        raise ValueError(f"{name!r:.40} is not {known}")
    try:
        year = start(name).year
    except ValueError:
        raise ValueError(f"the calendar has no {found} {name}") from None
    if year not in YEARS:
        raise ValueError(f"{name} is not in the years from {YEARS[0]} to {YEARS[-1]}")
    return found


def start(name: str) -> datetime:
    """When the period begins."""
    if NAMES["week"].fullmatch(name):
        return datetime.fromisocalendar(int(name[:4]), int(name[6:]), 1)
    return datetime.fromisoformat(f"{name}-01-01"[:10])


def end(name: str) -> datetime:
    """When the next one begins."""
    days: dict[Grain, int] = {"day": 1, "week": 7, "month": 31, "year": 366}
    return start(at(start(name) + timedelta(days=days[grain(name)]), name))


def at(time: date, like: str) -> str:
    """The period that `time` is in, of the kind that `like` is of."""
    if NAMES["week"].fullmatch(like):
        year, week, _ = time.isocalendar()
        return f"{year}-W{week:02}"
    return f"{time:%Y-%m-%d}"[: len(like)]


def before(name: str) -> str:
    """The period before it."""
    return at(start(name) - timedelta(days=1), name)


def between(first: str, last: str) -> list[str]:
    """The periods from `first` to `last`, both included: ["2013-01", "2013-02"]. UserError where they are not
    of one kind."""
    if (kind := grain(first)) != grain(last):
        raise UserError(f"{last} is not a {kind}, as {first} is: name periods of one kind")
    found, name = [], first
    while name <= last:
        found.append(name)
        name = at(end(name), like=first)
    return found


def within(time: Any, first: str, last: str) -> Any:
    """Which of a series of times are in the periods `first` to `last`: a series of bool."""
    return (time >= start(first)) & (time < end(last))


def names(time: Any, like: str) -> Any:
    """The period of each of a series of times, of the kind that `like` is of: an array (n,)."""
    if NAMES["month"].fullmatch(like):
        return months(time)
    days = time.dt.normalize()
    return days.map({day: at(day, like) for day in days.unique()}).to_numpy(dtype=object)


def months(time: Any) -> Any:
    """The month of each of a series of times: an array (n,), ten times as fast as strftime."""
    return time.to_numpy().astype("datetime64[M]").astype(str).astype(object)
