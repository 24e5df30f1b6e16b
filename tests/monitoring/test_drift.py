"""The drift check on months that differ: what asks for a new model, what does not, what is a fault."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.artifacts.drift import Check, Month
from pipelines.artifacts.reference import Reference
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_bytes, write_json
from pipelines.core import stats
from pipelines.core.tasks.binary import BINARY
from pipelines.monitoring import drift as module
from pipelines.monitoring import labels, report
from pipelines.monitoring.drift import conclude, drift, judge
from tests.monitoring.conftest import SEEN, Production
from tests.problems.parcels import PROBLEM
from tests.problems.parcels.columns import CONTRACT

Change = Callable[[pd.DataFrame], pd.DataFrame]


def check(
    production: Production, through: str, out: Path, home: Path | None = None
) -> tuple[int, dict[str, Any]]:
    found = drift(
        "production", through, home or production.home, production.known, production.params, PROBLEM
    )
    report.write(found, out, BINARY)
    return module.EXIT[found.verdict], read_json(out / "drift.json")


def month_of(production: Production, month: str, change: Change = lambda rows: rows) -> Month:
    """The judged month, had the log been `change`d."""
    log = production.log
    events = production.events(month)
    rows = log.rows[log.rows[labels.KEY].isin(events[labels.KEY])]
    changed = replace(log, asked=change(rows.copy()))
    return judge(month, events, changed, production.known, production.params, CONTRACT)


def verdict(production: Production, judged: list[Month]) -> Check:
    seen = (judged, production.log, production.known, production.params, PROBLEM.task)
    return conclude("production", judged[-1].month, *seen)


@pytest.mark.parametrize(
    ("through", "code", "expected"),
    [("2013-07", 0, "STEADY"), ("2013-08", 0, "STEADY"), ("2013-09", 0, "STEADY"), ("2013-10", 4, "RETRAIN")],
)
def test_only_two_bad_months_in_a_row_ask_for_a_new_model(
    production: Production, tmp_path: Path, through: str, code: int, expected: str
) -> None:
    assert check(production, through, tmp_path)[0] == code
    found = read_json(tmp_path / "drift.json")
    assert found["verdict"] == expected
    assert [month["month"] for month in found["months"]] == [month for month in SEEN if month <= through]
    assert ("RETRAIN" in (tmp_path / "drift.md").read_text()) == (expected == "RETRAIN")
    assert not any(month["faults"] for month in found["months"])


def test_the_season_moves_features_and_that_alone_is_a_warning(
    production: Production, tmp_path: Path
) -> None:
    code, found = check(production, "2013-07", tmp_path)
    assert code == 0
    assert len(found["months"][0]["moved"]) >= 3
    assert any("other values than in training" in warning for warning in found["warnings"])


# --- faults in what production saw ------------------------------------------------------------------------

BY_NAME = {column.name: column for column in CONTRACT.loggable}


def celsius(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(temperature=(rows["temperature"] - 32) / 1.8)


def without_a_carrier(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["carrier"] != "Birch"]


def all_missing(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(humidity=float("nan"))


def a_fixed_value(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(wind_speed=rows["wind_speed"].median())


def an_hour_off(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(departure_minute=(rows["departure_minute"] + 60) % 1440)


def kilometres(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(distance=rows["distance"] * 1.609)


def lower_case(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(depot=rows["depot"].str.lower())


@pytest.mark.parametrize("month", ["2013-07", "2013-10"])
@pytest.mark.parametrize(
    ("fault", "feature"),
    [
        (celsius, "temperature"),
        (without_a_carrier, "carrier"),
        (all_missing, "humidity"),
        (a_fixed_value, "wind_speed"),
        (an_hour_off, "departure_minute"),
        (kilometres, "distance"),
        (lower_case, "depot"),
    ],
)
def test_a_fault_in_the_data_is_named_with_its_feature(
    production: Production, month: str, fault: Change, feature: str
) -> None:
    judged = month_of(production, month, fault)
    assert feature in [found.feature for found in judged.faults]
    concluded = verdict(production, [judged])
    assert concluded.verdict == "FAULT" and module.EXIT["FAULT"] == 4
    assert any(f"{month}: {feature}: " in reason for reason in concluded.reasons)


def test_a_fault_names_nothing_but_its_feature(production: Production) -> None:
    assert [found.feature for found in month_of(production, "2013-07", celsius).faults] == ["temperature"]


def test_values_that_the_source_corrected_afterwards_are_no_fault(production: Production) -> None:
    def a_few(rows: pd.DataFrame) -> pd.DataFrame:
        changed = rows.index[:: len(rows) // 50]  # fifty of 9,000
        rows.loc[changed, "temperature"] += 5
        return rows

    assert month_of(production, "2013-07", a_few).faults == ()


def test_a_random_half_of_the_events_is_no_fault(production: Production) -> None:
    half = month_of(production, "2013-07", lambda rows: rows.sample(frac=0.5, random_state=1))
    assert (half.faults, half.state) == ((), "good")


def test_a_month_with_a_fault_does_not_count_as_a_bad_one(production: Production) -> None:
    september = month_of(production, "2013-09", celsius)
    october = month_of(production, "2013-10")
    assert (september.state, october.state) == ("fault", "bad")
    concluded = verdict(production, [september, october])
    assert concluded.verdict == "STEADY"
    assert any("2013-09 is left out: temperature" in warning for warning in concluded.warnings)


# --- no data never passes ---------------------------------------------------------------------------------


def test_without_labels_nothing_is_said(production: Production, tmp_path: Path) -> None:
    code, found = check(production, "2013-11", tmp_path)
    assert (code, found["verdict"]) == (3, "INCONCLUSIVE")
    assert "its labels have not come" in found["reasons"][0]


def test_without_predictions_nothing_is_said(production: Production, tmp_path: Path) -> None:
    (tmp_path / "labels").symlink_to(production.home / "labels")
    code, found = check(production, "2013-07", tmp_path / "out", home=tmp_path)
    assert (code, found["verdict"]) == (3, "INCONCLUSIVE")
    assert "no predictions" in found["reasons"][0]


def test_too_few_days_say_nothing(production: Production) -> None:
    events = production.events("2013-07").sort_values(CONTRACT.time.name)
    first = set(events[labels.KEY][events[CONTRACT.time.name] < "2013-07-15"])
    judged = month_of(production, "2013-07", lambda rows: rows[rows[labels.KEY].isin(first)])
    assert (judged.state, judged.days, judged.faults) == ("unknown", 14, ())
    assert verdict(production, [judged]).verdict == "INCONCLUSIVE"


def test_a_bad_month_after_one_that_nobody_knows_is_the_first(production: Production) -> None:
    unknown = month_of(production, "2013-09", lambda rows: rows[:0])
    assert unknown.state == "unknown"
    assert verdict(production, [unknown, month_of(production, "2013-10")]).verdict == "STEADY"


def test_a_log_that_is_mostly_unreadable_says_nothing(production: Production) -> None:
    log = replace(production.log, unreadable=10_000)
    judged = [month_of(production, "2013-07")]
    seen = (judged, log, production.known, production.params, PROBLEM.task)
    concluded = conclude("production", judged[-1].month, *seen)
    assert concluded.verdict == "INCONCLUSIVE"


def test_months_that_the_champion_has_seen_are_refused(production: Production, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the champion has seen 2013-05"):
        check(production, "2013-05", tmp_path)


@pytest.mark.parametrize("spoil", ["features", "rows", "label_rate", "brier_skill"])
def test_a_reference_of_another_make_is_one_sentence(
    production: Production, tmp_path: Path, spoil: str
) -> None:
    value = read_json(production.home / "reference.json")
    del value[spoil]
    with pytest.raises(UserError, match=r"reference\.json is not what `ml stage train` writes"):
        Reference.read(write_json(tmp_path / "reference.json", value).parent)


def test_a_feature_that_the_champion_did_not_have_is_one_sentence(
    production: Production,
) -> None:
    value = read_json(production.home / "reference.json")
    gone = value["features"].pop(0)["name"]
    with pytest.raises(UserError, match=f"no feature {gone}"):
        drift("production", "2013-07", production.home, Reference.parse(value), production.params, PROBLEM)


# --- the numbers ------------------------------------------------------------------------------------------


def test_the_skill_is_against_the_months_own_label_rate(production: Production) -> None:
    judged = month_of(production, "2013-09")
    joined = labels.join(production.log, production.events("2013-09"), CONTRACT).dropna(
        subset=[CONTRACT.label.name]
    )
    y, p = joined[CONTRACT.label.name].astype(float), joined[labels.ANSWER]
    assert judged.skill == pytest.approx(1 - ((p - y) ** 2).mean() / y.var(ddof=0))
    assert judged.interval is not None and judged.interval[0] < judged.skill < judged.interval[1]
    assert judged.rows == len(joined) < judged.predictions  # what came back has an answer and no label


def test_the_interval_is_of_what_the_gate_draws(production: Production, tmp_path: Path) -> None:
    def drawn(unit: str) -> Month:
        gate = production.params.gate.model_copy(update={"unit": unit})
        changed = production.params.model_copy(update={"gate": gate})
        return month_of(replace(production, params=changed), "2013-09")

    days, weeks, month = map(drawn, ("day", "week", "month"))
    assert days.skill == pytest.approx(weeks.skill) == pytest.approx(month.skill)
    assert days.state == weeks.state == month.state == "bad"
    assert days.interval != weeks.interval is not None and (days.drawn, weeks.drawn) == ("days", "weeks")
    assert month.interval is None  # one draw alone
    for judged, words in ((days, "resample days."), (weeks, "resample weeks.")):
        assert words in report.markdown(verdict(production, [judged]), BINARY)
    assert "one draw has no interval" in verdict(production, [month]).reasons[0]


def test_a_training_months_skill_is_restated_exactly(production: Production) -> None:
    import numpy as np

    label = np.array([1, 0, 0, 0, 1, 1, 0, 0], dtype=bool)
    p = np.array([0.7, 0.2, 0.1, 0.3, 0.6, 0.5, 0.4, 0.2])
    sums = stats.day_sums(label, p, np.zeros(8, dtype=int), 1)
    past = {"rows": 92, "label_rate": 0.25}
    entry = {"month": "2013-02", "rows": 8, "label_rate": float(label.mean())}
    entry["brier_skill"] = float(stats.brier_skill(sums, past["label_rate"]))
    rate = (past["rows"] * past["label_rate"] + label.sum()) / 100
    about: dict[str, Any] = {"first": "2013-01-01", "last": "2013-02-28", "features": []}
    known = Reference.parse(about | {"rows": 100, "label_rate": rate, "brier_skill": [entry]})
    wanted = 1 - ((p - label) ** 2).mean() / label.var()
    assert module._own_skills(known, PROBLEM.task)["2013-02"] == pytest.approx(wanted)


def test_numbers_are_compared_as_the_model_takes_them(production: Production) -> None:
    # In float64 half of a popular wind speed is beyond its own edge: a PSI of .9 from nothing.
    july = month_of(production, "2013-07")
    assert july.psi["wind_speed"] < 0.5


# --- the report -------------------------------------------------------------------------------------------


def test_the_report_is_on_disk_and_in_the_step_summary(
    production: Production,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(write_bytes(tmp_path / "summary.md", b"before\n")))
    check(production, "2013-10", tmp_path)
    text = (tmp_path / "drift.md").read_text()
    assert text.startswith("## Drift check of production through 2013-10: RETRAIN")
    assert "xychart-beta" in text and "█" in text and len(text) < 60_000
    assert (tmp_path / "summary.md").read_text().startswith("before\n## Drift check")
    assert capsys.readouterr().out.startswith("RETRAIN: production through 2013-10")
    json.dumps(read_json(tmp_path / "drift.json"), allow_nan=False)
