"""A feature that looks back says the same to the judge as in production, on the first of a month too."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.core import features as core
from pipelines.core import rows as road
from pipelines.core.params import Data
from pipelines.core.tasks.binary import BINARY
from pipelines.judge import champion, gather, rows
from pipelines.judge.champion import Champion, Production
from pipelines.training import prepare
from tests import project
from tests.model.proposals import PARAMS, Made, commit, git, golden, released
from tests.months import in_order
from tests.problems.parcels import PROBLEM, features, source
from tests.problems.parcels.columns import CONTRACT

KEY, TIME, LABEL = CONTRACT.key.name, CONTRACT.time.name, CONTRACT.label.name
LAG = CONTRACT.derived[0]  # takes the place of a feature that looks back
DAYS = 40  # more than the month of data before the test window has
VALUES = {"data": {"first": "2013-02", "through": "2013-03"}}
TRAIN = PARAMS["train"] | {"first": "2013-02", "last": "2013-02"}
BUILD = f'''

HISTORY_DAYS = {DAYS}
real = build


def build(raw):
    """So many rows {DAYS} days ago; nothing where these are not known."""
    day = raw["{TIME}"].dt.normalize()
    before = (day - pd.Timedelta(days={DAYS})).map(day.value_counts())
    return real(raw).assign({LAG.name}=before.clip({LAG.minimum}, {LAG.maximum}).fillna({LAG.minimum}))
'''


@pytest.fixture
def lagged(monkeypatch: pytest.MonkeyPatch, small_raw: pd.DataFrame) -> pd.DataFrame:
    """A source of some rows a day over three months, and a features.py that looks back over one of them."""
    golden()  # is of the real source, and kept
    few = small_raw.groupby(small_raw[TIME].dt.normalize()).head(30)
    few = few[few.index % 3 != 0]
    month = few[TIME].dt.strftime("%Y-%m")
    made: dict[str, object] = {"build": features.build, "pd": pd}
    exec(BUILD, made)
    monkeypatch.setattr(source, "months", lambda: sorted(month.unique()))
    monkeypatch.setattr(source, "read", lambda name: few[month == name])
    monkeypatch.setattr(features, "build", made["build"])
    monkeypatch.setattr(features, "HISTORY_DAYS", DAYS)
    return in_order(few)


def lag(table: pd.DataFrame) -> pd.Series:
    return table.set_index(KEY)[LAG.name].astype("float32")


def firsts(table: pd.DataFrame) -> pd.Series:
    """The feature in the first days of March."""
    return lag(table[table[TIME].between("2013-03-01", "2013-03-08")])


def test_the_judge_sees_what_production_sees(lagged: pd.DataFrame) -> None:
    raw = rows.read(Data(first="2013-02", through="2013-03"), PROBLEM)
    assert raw[TIME].min() >= pd.Timestamp("2013-02-01")  # what was trained on, as the build has it
    judged = rows.with_features(raw, ["2013-03"], PROBLEM)
    pd.testing.assert_series_equal(lag(judged), lag(road.of_month("2013-03", PROBLEM)))
    whole = lag(core.built(lagged, PROBLEM))
    pd.testing.assert_series_equal(lag(judged), whole[judged[KEY]])
    assert (firsts(judged) > LAG.minimum).all()
    alone = core.built(raw, PROBLEM)  # without what stands before data.first
    assert (firsts(alone) == LAG.minimum).all()


def test_candidate_and_champion_are_asked_with_full_features(
    lagged: pd.DataFrame, fitted, tmp_path: Path
) -> None:
    values = PARAMS | VALUES | {"train": TRAIN}
    about = {"first": "2013-02-01", "last": "2013-02-28"}
    base = commit(Made(fitted().model, values, **about).write(tmp_path / "base"))
    other = values | {"train": TRAIN | {"seed": 8}}
    e = gather.gather(Made(fitted().model, other, **about).write(tmp_path / "candidate"), base, PROBLEM)
    assert e.window is not None and e.candidate is not None and e.champion is not None
    early = e.window.rows[TIME] < pd.Timestamp("2013-03-09")
    expected = lag(road.of_month("2013-03", PROBLEM))[e.window.rows[KEY]].to_numpy()
    for scored in (e.candidate, e.champion):
        np.testing.assert_array_equal(scored.features[LAG.name].to_numpy(dtype=np.float32), expected)
        assert (scored.features[LAG.name][early.to_numpy()] > LAG.minimum).all()


@pytest.mark.parametrize("history", [DAYS, 0])
def test_a_champion_s_own_code_gets_its_history(
    history: int, fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its features.py looks back; the base's does so no more. Where it says nothing, the days are empty."""
    folder = fitted().write(tmp_path / "base")
    shutil.copytree(project.code() / "pipelines", folder / "pipelines")
    code = folder / "pipelines/problem/features.py"
    now = code.read_text()
    code.write_text(now + BUILD.replace(f"HISTORY_DAYS = {DAYS}", f"HISTORY_DAYS = {history}"))
    base = commit(folder)
    old = git(base, "rev-parse", "HEAD")
    code.write_text(now)
    git(base, "commit", "--quiet", "-am", "no looking back")
    found = champion.find(
        base, BINARY, Production("f" * 64, old, released(fitted(), tmp_path / "release")), "the release"
    )
    assert isinstance(found, Champion)
    its = champion.rows(found, ["2013-03"])
    assert its is not None
    raw = pd.concat([source.read(month) for month in ("2013-01", "2013-02", "2013-03")], ignore_index=True)
    march = raw[raw[TIME] >= pd.Timestamp("2013-03-01")]
    day = raw[TIME].dt.normalize()
    count = (day - pd.Timedelta(days=DAYS)).map(day.value_counts()).clip(LAG.minimum, LAG.maximum)
    expected = count[march.index].to_numpy() if history else np.full(len(march), float(LAG.minimum or 0.0))
    seen = lag(its)[march[KEY]].to_numpy()
    np.testing.assert_allclose(seen[: len(seen) // 4], expected[: len(seen) // 4])


def test_where_the_rooms_are_one_the_base_s_rows_are_the_champion_s(fitted, base: Path) -> None:
    found = champion.find(base, BINARY, None, "the release")
    assert found is not None and champion.rows(found, ["2013-06"]) is None


def test_the_rows_to_train_on_are_the_build_s(lagged: pd.DataFrame) -> None:
    """The model is trained again on data/ alone, as the build was, or it would be another one."""
    raw = rows.read(Data(first="2013-02", through="2013-03"), PROBLEM)
    assert (
        lag(prepare.prepare(raw, PROBLEM))[raw[KEY][raw[TIME] < pd.Timestamp("2013-03-01")]] == LAG.minimum
    ).all()
