"""The files of data/ may be of days, weeks or years: the same rows are trained on, judged and watched."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipelines.base.errors import UserError
from pipelines.core import params, periods, room
from pipelines.core import rows as road
from pipelines.core.params import Params
from pipelines.judge import rows as judged
from pipelines.monitoring import drift, retrain
from pipelines.training import ingest, prepare, table, validate
from tests.problems.parcels import PARAMS, PROBLEM, source
from tests.problems.parcels.columns import CONTRACT

TIME = CONTRACT.time.name


@pytest.mark.parametrize(
    ("like", "name", "first", "end", "before"),
    [
        ("2013-06", "2013-02", "2013-02-01", "2013-03-01", "2013-01"),
        ("2013-06", "2012-12", "2012-12-01", "2013-01-01", "2012-11"),
        ("2013-06-03", "2012-02-29", "2012-02-29", "2012-03-01", "2012-02-28"),
        ("2013-W23", "2013-W01", "2012-12-31", "2013-01-07", "2012-W52"),
        ("2013-W23", "2020-W53", "2020-12-28", "2021-01-04", "2020-W52"),
        ("2013", "2012", "2012-01-01", "2013-01-01", "2011"),
    ],
)
def test_a_period_has_a_beginning_an_end_and_one_before(
    like: str, name: str, first: str, end: str, before: str
) -> None:
    ends = pd.Timestamp(end)
    assert (periods.start(name), periods.end(name)) == (pd.Timestamp(first), ends)
    assert periods.before(name) == before and periods.between(before, name) == [before, name]
    times = pd.Series(pd.date_range(first, ends - pd.Timedelta(hours=1), freq="7h"))
    assert set(periods.names(times, like)) == {periods.at(times[0], like)} == {name}
    assert periods.within(times, name, name).all()
    assert not periods.within(
        pd.Series([ends, pd.Timestamp(first) - pd.Timedelta(seconds=1)]), name, name
    ).any()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("2013-13", "the calendar has no month 2013-13"),
        ("2013-02-30", "the calendar has no day 2013-02-30"),
        ("2013-W53", "the calendar has no week 2013-W53"),
        ("0001", "0001 is not in the years from 1678 to 2261"),
        ("9999-12-31", "9999-12-31 is not in the years"),
        ("0000", "the calendar has no year 0000"),
        ("June", "'June' is not a month such as 2013-06, a day"),
        ("../x", "'../x' is not a month"),
    ],
)
def test_what_is_no_period_is_said_so(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        periods.grain(name)


def of_days(monkeypatch: pytest.MonkeyPatch, raw: pd.DataFrame, like: str) -> list[str]:
    """Let the source name periods such as `like`; its rows are those of `raw`."""
    name = periods.names(raw[TIME], like)
    names = periods.between(min(name), max(name))
    monkeypatch.setattr(source, "months", lambda: names)
    monkeypatch.setattr(source, "read", lambda period: raw[name == period])
    return names


def windows(like: str, raw: pd.DataFrame) -> Params:
    """All but the last 30 days are trained on."""
    first, last = raw[TIME].min(), raw[TIME].max()
    ends = {"first": first, "through": last, "last": last - pd.Timedelta(days=30)}
    named = {name: periods.at(time, like) for name, time in ends.items()}
    value = PARAMS.model_dump(exclude_unset=True)
    value["data"] = {name: named[name] for name in ("first", "through")}
    value["train"] |= {name: named[name] for name in ("first", "last")}
    return params.parse(value)


@pytest.mark.parametrize("like", ["2013-01-01", "2013-W01"])
def test_rows_windows_and_features_are_those_of_files_a_month(
    like: str, small_raw: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = small_raw[small_raw.index % 20 == 0].reset_index(drop=True)
    names = of_days(monkeypatch, few, like)
    wanted = windows(like, few)
    files = ingest.ingest(PROBLEM, names[-1], first=names[0], folder=tmp_path / "data")
    assert [file.stem for file in files] == names
    prepared = tmp_path / "prepared.parquet"
    prepare.run(wanted, PROBLEM, tmp_path / "data", prepared)
    rows = table.load(prepared)
    trained, later = table.training(wanted, rows, CONTRACT), table.later(wanted, rows, CONTRACT)
    labelled = rows[rows[CONTRACT.label.name].notna()]
    assert len(trained) + later[CONTRACT.label.name].notna().sum() == len(labelled)
    assert trained[TIME].max() < periods.end(wanted.train.last) <= later[TIME].min()
    raw = judged.read(wanted.data, PROBLEM)
    window = judged.window(raw, f"{periods.end(wanted.train.last):%Y-%m-%d}", CONTRACT)
    assert len(window.label) == later[CONTRACT.label.name].notna().sum()
    seen = judged.with_features(raw, judged.touched(window, like), PROBLEM)
    asked = [column.name for column in CONTRACT.features]
    mine, its = (found.set_index(CONTRACT.key.name)[asked] for found in (seen, later))
    pd.testing.assert_frame_equal(mine.loc[its.index], its, check_dtype=False, atol=1e-4)


@pytest.mark.parametrize("like", ["2013-01-01", "2013-W01", "2013"])
def test_the_drift_check_judges_months_whatever_the_files(like: str, small_raw: pd.DataFrame) -> None:
    name = periods.names(small_raw[TIME], like)
    events = {period: small_raw[name == period] for period in sorted(set(name))}
    found = drift.by_month(events, CONTRACT)
    months = periods.months(small_raw[TIME])
    for month in sorted(set(months)):
        its = found[month]
        assert its is not None and set(its[CONTRACT.key.name]) == set(
            small_raw[CONTRACT.key.name][months == month]
        )
    first, *others = events
    without: dict[str, Any] = {**events, first: None}
    unknown = [month for month, table in drift.by_month(without, CONTRACT).items() if table is None]
    assert unknown and all(periods.start(month) < periods.end(first) for month in unknown)
    assert others == [] or len(unknown) < len(found)


def test_a_retraining_leaves_days_enough_to_judge_by() -> None:
    text = (Path(__file__).parents[1] / "problems/parcels/params.yaml").read_text()
    moved = retrain.move_on(text, "2013-10")
    assert params.parse(yaml.safe_load(moved)).train.last == "2013-09"
    days = (
        text.replace("2013-01", "2013-01-01")
        .replace("2013-06", "2013-06-30")
        .replace("2013-05", "2013-05-31")
    )
    last = params.parse(yaml.safe_load(retrain.move_on(days, "2013-10-31"))).train.last
    assert last == "2013-10-03"  # gate.days is 28


def test_yaml_may_say_a_year_or_a_day_without_quotes() -> None:
    value = PARAMS.model_dump(exclude_unset=True)
    value["data"] = {"first": 2011, "through": 2013}
    value["train"] |= {"first": 2011, "last": 2012}
    assert params.parse(value).data.through == "2013"
    value["train"]["last"] = "2012-12"
    with pytest.raises(UserError, match="data and train name a month and a year: name periods of one kind"):
        params.parse(value)


def test_a_source_names_periods_of_one_kind() -> None:
    with pytest.raises(UserError, match="returns a month and a week: name periods of one kind"):
        room.months(mixed)
    assert room.months(weeks) == ["2013-W01", "2013-W02"]


def mixed() -> list[str]:
    return ["2013-01", "2013-W05"]


def weeks() -> list[str]:
    return ["2013-W01", "2013-W02"]


def test_a_lost_week_is_found_and_an_empty_day_is_a_holiday() -> None:
    times = pd.Series(pd.date_range("2013-01-07", "2013-03-31 23:00", freq="h"))
    of_week = dict(tuple(times.groupby(periods.names(times, "2013-W01"))))
    assert set(validate.least_days(of_week).values()) == {5}
    of_day = dict(tuple(times.groupby(periods.names(times, "2013-01-01"))))
    assert set(validate.least_days(of_day).values()) == {0}


def test_months_that_the_source_lacks_are_said_in_its_own_words() -> None:
    with pytest.raises(UserError, match="2013-W05 is not a month, as 2013-01 is"):
        periods.between("2013-01", "2013-W05")
    assert road.known(PROBLEM)[0] == "2013-01"
