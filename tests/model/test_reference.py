"""The reference that the drift check compares with: quiet on its own data, loud on a fault."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.artifacts.reference import Reference
from pipelines.core import stats
from pipelines.core.params import Params
from pipelines.training import reference, table
from tests.problems.parcels.columns import CONTRACT


@pytest.fixture(scope="module")
def rows(small_params: Params, small_built: Path) -> pd.DataFrame:
    return table.training(small_params, table.load(small_built / "build/prepared.parquet"), CONTRACT)


@pytest.fixture(scope="module")
def known(small_built: Path) -> Reference:
    return Reference.read(small_built / "models")


def drifted(known: Reference, rows: pd.DataFrame) -> list[str]:
    found = []
    for feature in known.features:
        now = feature.bins.frequencies(rows[feature.name].to_numpy(dtype=object))
        if stats.psi(feature.frequencies, now) > feature.threshold:
            found.append(feature.name)
    return found


def test_every_feature_has_bins_shares_and_a_threshold(small_params: Params, known: Reference) -> None:
    assert list(known.named) == [column.name for column in CONTRACT.features]
    for feature in known.features:
        assert sum(feature.frequencies) == pytest.approx(1)
        assert feature.threshold >= small_params.drift.psi


def test_no_month_of_the_reference_drifts_from_it(known: Reference, rows: pd.DataFrame) -> None:
    for _, month in rows.groupby(rows[CONTRACT.time.name].dt.to_period("M")):
        assert drifted(known, month) == []


def test_a_fault_drifts_alone(known: Reference, rows: pd.DataFrame) -> None:
    number = next(column.name for column in CONTRACT.features if column.type == "number")
    category = next(column.name for column in CONTRACT.features if column.type == "category")
    lost = rows.assign(**{number: rows[number].where(rows.index % 2 == 0)})
    assert drifted(known, lost) == [number]
    shifted = rows.assign(**{number: rows[number] * 3})
    assert drifted(known, shifted) == [number]
    renamed = rows.assign(**{category: np.where(rows.index % 2 == 0, "never seen", rows[category])})
    assert drifted(known, renamed) == [category]


def test_each_month_but_the_first_has_a_skill_of_the_months_before(
    small_params: Params, known: Reference, rows: pd.DataFrame
) -> None:
    (skill,) = known.skills
    assert skill.month == small_params.train.last and -1 < skill.skill < 1
    assert known.constant == pytest.approx(float(rows[CONTRACT.label.name].mean()))


def test_skill_is_honest_a_month_is_never_answered_by_a_model_that_saw_it(
    small_params: Params, rows: pd.DataFrame
) -> None:
    seen = []

    def answers(params: Params, past: pd.DataFrame, now: pd.DataFrame) -> np.ndarray:
        seen.append((past[CONTRACT.time.name].max(), now[CONTRACT.time.name].min()))
        return np.full(len(now), float(past[CONTRACT.label.name].mean()))

    built = reference.build(small_params, rows, answers, CONTRACT)
    assert seen and all(past < now for past, now in seen)
    assert all(skill.skill == pytest.approx(0) for skill in built.skills)
