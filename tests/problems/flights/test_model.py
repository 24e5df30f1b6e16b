"""How a model of flights behaves. Made your own? Put a folder for your problem in place of this one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.core.model import Model
from pipelines.core.params import Params
from pipelines.core.tasks.binary import BINARY
from pipelines.problem.columns import CONTRACT
from pipelines.training import table


@pytest.fixture(scope="module")
def model(room_built: Path) -> Model:
    return Model(room_built / "models/model.onnx", BINARY)


@pytest.fixture(scope="module")
def rows(room_params: Params, room_built: Path) -> pd.DataFrame:
    return table.later(room_params, table.load(room_built / "build/prepared.parquet"), CONTRACT).iloc[::20]


def answers(model: Model, rows: pd.DataFrame, **changed: object) -> np.ndarray:
    return model.predict(table.inputs(rows.assign(**changed), CONTRACT))


def test_an_unknown_carrier_and_destination_are_answered(model: Model, rows: pd.DataFrame) -> None:
    p = answers(model, rows, carrier="ZZ", dest="XXX")
    assert np.isfinite(p).all() and (p > 0).all() and (p < 1).all()


def test_a_station_that_says_nothing_is_answered(model: Model, rows: pd.DataFrame) -> None:
    weather = [column.name for column in CONTRACT.features if column.missing]
    p = answers(model, rows, **{name: np.nan for name in weather})
    assert np.isfinite(p).all()


def test_an_evening_flight_is_riskier_than_the_same_one_in_the_morning(
    model: Model, rows: pd.DataFrame
) -> None:
    morning = answers(model, rows, departure_minute=np.float32(7 * 60), scheduled_arrival=np.float32(9 * 60))
    evening = answers(
        model, rows, departure_minute=np.float32(19 * 60), scheduled_arrival=np.float32(21 * 60)
    )
    assert evening.mean() > morning.mean() + 0.05
    assert (evening > morning).mean() > 0.9


def test_bad_sight_never_makes_a_day_better(model: Model, rows: pd.DataFrame) -> None:
    clear = answers(model, rows, visibility=np.float32(10), humidity=np.float32(50))
    fog = answers(model, rows, visibility=np.float32(0.5), humidity=np.float32(95))
    assert fog.mean() > clear.mean()


def test_an_answer_does_not_depend_on_the_rows_beside_it(model: Model, rows: pd.DataFrame) -> None:
    together = answers(model, rows)
    alone = np.concatenate([answers(model, rows.iloc[[place]]) for place in range(0, 200)])
    np.testing.assert_array_equal(together[:200], alone)
    np.testing.assert_array_equal(answers(model, rows.iloc[::-1])[::-1], together)
