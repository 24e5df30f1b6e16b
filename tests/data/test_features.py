"""Features are known before the event: nothing of the outcome, and nothing of later days, is in them."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from pipelines.base.errors import Refused, UserError
from pipelines.core import features as made_of
from pipelines.core import periods
from pipelines.training import prepare
from tests.problems.parcels import PROBLEM, features
from tests.problems.parcels.columns import CONTRACT

Rows = pd.DataFrame
Build = Callable[[Rows], Rows]


@pytest.fixture(scope="module")
def raw(small_raw: Rows) -> Rows:
    """The first ten days."""
    day = small_raw[CONTRACT.time.name].dt.normalize()
    return small_raw[day < day.min() + pd.Timedelta(days=10)].reset_index(drop=True)


def made(build: Build, raw: Rows) -> Rows:
    return build(raw)[[column.name for column in CONTRACT.features]]


def looks_at_the_outcome(build: Build, raw: Rows) -> bool:
    """Whether a feature changes when all that is known only afterwards is shuffled among the rows."""
    too_late = [column.name for column in CONTRACT.forbidden if column.name in raw]
    order = np.random.default_rng(1).permutation(len(raw))
    other = raw.assign(**{name: raw[name].iloc[order].to_numpy() for name in too_late})
    return not made(build, raw).equals(made(build, other))


def looks_at_later_days(build: Build, raw: Rows) -> bool:
    """Whether the features of the first half change when the days of the second half are not there yet."""
    day = raw[CONTRACT.time.name].dt.normalize()
    early = raw[day <= day.min() + (day.max() - day.min()) / 2]
    return not made(build, raw).loc[early.index].equals(made(build, early))


def test_no_forbidden_column_is_a_feature() -> None:
    names = {column.name for column in CONTRACT.features}
    assert names.isdisjoint(column.name for column in CONTRACT.forbidden)
    assert CONTRACT.label.name not in names
    assert all(
        column.known_at is not None and column.known_at >= CONTRACT.horizon for column in CONTRACT.features
    )


def test_a_column_that_comes_too_late_is_forbidden_not_a_feature() -> None:
    feature = CONTRACT.features[0]
    late = dataclasses.replace(feature, known_at=CONTRACT.horizon - 0.5)
    changed = dataclasses.replace(
        CONTRACT, columns=tuple(late if column == feature else column for column in CONTRACT.columns)
    )
    assert late in changed.forbidden and late not in changed.features


def test_features_do_not_look_at_the_outcome(raw: Rows) -> None:
    assert not looks_at_the_outcome(features.build, raw)


def test_features_do_not_look_at_later_days(raw: Rows) -> None:
    assert not looks_at_later_days(features.build, raw)


def test_a_leaking_feature_would_be_found(raw: Rows) -> None:
    name = CONTRACT.derived[0].name

    def from_the_outcome(rows: Rows) -> Rows:
        return features.build(rows).assign(**{name: rows[CONTRACT.label.name].astype("Float64")})

    def from_later_days(rows: Rows) -> Rows:
        return features.build(rows).assign(**{name: len(rows)})

    assert looks_at_the_outcome(from_the_outcome, raw)
    assert looks_at_later_days(from_later_days, raw)


def test_prepared_rows_are_key_time_label_slices_and_features_only(raw: Rows) -> None:
    table = prepare.prepare(raw, PROBLEM)
    allowed = (CONTRACT.key, CONTRACT.time, CONTRACT.label, *CONTRACT.slices, *CONTRACT.features)
    assert set(table.columns) == {column.name for column in allowed}
    assert len(table) == len(raw)  # rows without a label are kept
    numbers = [column.name for column in CONTRACT.features if column.type != "category"]
    assert (table[numbers].dtypes == "float32").all()


def test_a_contract_feature_that_nobody_makes_is_named(raw: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = dataclasses.replace(CONTRACT.features[-1], name="never_made", derived=True)
    contract = dataclasses.replace(CONTRACT, columns=(*CONTRACT.columns, extra))
    monkeypatch.setattr("tests.problems.parcels.columns.CONTRACT", contract)
    with pytest.raises(UserError, match=r"features\.py: build\(\) returns no never_made"):
        made_of.built(raw, PROBLEM)


def test_a_derived_column_out_of_its_range_is_refused(raw: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    column = next(column for column in CONTRACT.derived if column.maximum is not None)
    build = features.build
    monkeypatch.setattr(features, "build", lambda rows: build(rows).assign(**{column.name: 1e9}))
    with pytest.raises(Refused, match=rf"{column.name}, made by features\.py, is 1000000000\.0, above"):
        prepare.prepare(raw, PROBLEM)
    monkeypatch.setattr(features, "build", lambda rows: build(rows).assign(**{column.name: np.nan}))
    with pytest.raises(Refused, match=rf"{column.name}, made by features\.py, is missing in 100\.0%"):
        prepare.prepare(raw, PROBLEM)


def test_rows_may_not_be_lost_or_reordered(raw: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    build = features.build
    monkeypatch.setattr(features, "build", lambda rows: build(rows).iloc[::-1])
    with pytest.raises(UserError, match="must keep the rows and their order"):
        prepare.prepare(raw, PROBLEM)
    monkeypatch.setattr(features, "build", lambda rows: build(rows).iloc[1:])
    with pytest.raises(UserError, match="must keep the rows and their order"):
        prepare.prepare(raw, PROBLEM)


def test_the_same_month_alone_or_with_others_gives_the_same_features(small_raw: Rows) -> None:
    time = small_raw[CONTRACT.time.name]
    month = f"{time.max():%Y-%m}"
    alone = small_raw[periods.within(time, month, month)]
    together = prepare.prepare(small_raw, PROBLEM).loc[alone.index]
    categories = [column.name for column in CONTRACT.features if column.type == "category"]
    assert together[categories].equals(prepare.prepare(alone, PROBLEM)[categories])
