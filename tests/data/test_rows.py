"""A row's features are the same whichever room asks, the first of a month included."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import write_bytes
from pipelines.core import datafiles, rows, tables
from pipelines.core import features as made
from pipelines.core.params import Params
from pipelines.monitoring import labels, replay
from pipelines.training import prepare, table
from tests.months import in_order
from tests.problems.parcels import PROBLEM, features, source
from tests.problems.parcels.columns import CONTRACT

KEY, TIME = CONTRACT.key.name, CONTRACT.time.name
LAG = CONTRACT.derived[0]  # takes the place of a feature that looks back
NUMBER = next(c for c in CONTRACT.raw if c.type == "number" and c.known_at is not None)


def looks_back(raw: pd.DataFrame) -> pd.DataFrame:
    """So many rows a week ago, by the day: nothing in the first week that is known."""
    day = raw[TIME].dt.normalize()
    count = day.value_counts()
    before = (day - pd.Timedelta(days=7)).map(count)
    return real(raw).assign(**{LAG.name: before.clip(LAG.minimum, LAG.maximum).fillna(LAG.minimum)})


real = features.build


@pytest.fixture
def lagged(monkeypatch: pytest.MonkeyPatch, small_raw: pd.DataFrame) -> pd.DataFrame:
    """A source of a few rows a day over three months, and a features.py that looks a week back."""
    few = small_raw.groupby(small_raw[TIME].dt.normalize()).head(4)
    few = few[few.index % 3 != 0].sample(frac=1, random_state=1)  # another number each day, in no order
    month = few[TIME].dt.strftime("%Y-%m")
    monkeypatch.setattr(source, "months", lambda: sorted(month.unique()))
    monkeypatch.setattr(source, "read", lambda name: few[month == name])
    monkeypatch.setattr(features, "build", looks_back)
    monkeypatch.setattr(features, "HISTORY_DAYS", 7)
    return in_order(few)


def ingested(folder: Path, *names: str) -> None:
    for name in names:
        write_bytes(datafiles.path(folder, name), tables.encoded(rows.of_source(name, PROBLEM)))


def test_training_replay_and_drift_see_the_same_features(
    lagged: pd.DataFrame, small_params: Params, tmp_path: Path
) -> None:
    ingested(tmp_path / "data", *rows.known(PROBLEM))
    prepare.run(small_params, PROBLEM, tmp_path / "data", tmp_path / "prepared.parquet")
    trained = table.load(tmp_path / "prepared.parquet").set_index(KEY)[LAG.name]
    last = small_params.data.through
    sent = pd.DataFrame(replay.events(last, PROBLEM)).set_index(KEY)[LAG.name].astype("float32")
    ingested(tmp_path / "labels", last)
    judged = labels.events(tmp_path / "labels", last, PROBLEM)
    assert judged is not None
    known = judged.set_index(labels.KEY)[LAG.name].astype("float32")
    assert sent.gt(LAG.minimum).mean() > 0.5  # the lag says something on the first of the month too
    pd.testing.assert_series_equal(trained[sent.index], sent, check_names=False)
    pd.testing.assert_series_equal(trained[known.index], known, check_names=False)


def test_a_feature_that_looks_back_farther_than_it_says_is_named(
    lagged: pd.DataFrame, small_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "HISTORY_DAYS", 6)
    ingested(tmp_path / "data", *rows.known(PROBLEM))
    with pytest.raises(UserError, match=rf"{LAG.name} of .* older than 6 days is known: set HISTORY_DAYS"):
        prepare.run(small_params, PROBLEM, tmp_path / "data", tmp_path / "prepared.parquet")


def test_a_history_that_is_no_number_of_days_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "HISTORY_DAYS", -1)
    with pytest.raises(UserError, match="HISTORY_DAYS is -1"):
        made.history_days(PROBLEM)


def test_an_infinite_feature_is_named_with_file_row_and_column(
    lagged: pd.DataFrame, small_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingested(tmp_path / "data", *rows.known(PROBLEM))
    last = small_params.data.through
    key = pd.read_parquet(tmp_path / f"data/{last}.parquet")[KEY][4]

    def divides_by_nothing(raw: pd.DataFrame) -> pd.DataFrame:
        rows = looks_back(raw)
        return rows.assign(**{NUMBER.name: rows[NUMBER.name].mask(rows[KEY] == key, np.inf)})

    monkeypatch.setattr(features, "build", divides_by_nothing)
    with pytest.raises(UserError, match=rf"{last}\.parquet, row 5: {NUMBER.name} is inf"):
        prepare.run(small_params, PROBLEM, tmp_path / "data", tmp_path / "prepared.parquet")
