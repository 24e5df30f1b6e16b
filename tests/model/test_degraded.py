"""Each way in which a model goes wrong in practice, made on purpose: none may pass the gate."""

from collections.abc import Callable

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from pipelines.core import params as parameters
from pipelines.training import train
from tests.model.proposals import HONEST, PARAMS, Made, judge, settings
from tests.problems.parcels import PROBLEM

WEATHER = "temperature humidity wind_speed precipitation pressure".split()
Pair = tuple[Made, pd.DataFrame]


def undertrained(fit: Callable[..., Made], table: pd.DataFrame, window: pd.DataFrame) -> Pair:
    return fit(settings(max_iter=5)), window


def a_tenth_of_the_data(fit: Callable[..., Made], table: pd.DataFrame, window: pd.DataFrame) -> Pair:
    """An import that ended after six days."""
    return trained_on(table[table["departure"] < "2013-04-07"]), window


def label_noise(fit: Callable[..., Made], table: pd.DataFrame, window: pd.DataFrame) -> Pair:
    wrong = np.random.default_rng(1).random(len(table)) < 0.15
    label = table["late"].where(~wrong | table["late"].isna(), ~table["late"])
    return trained_on(table.assign(late=label)), window


def no_weather(fit: Callable[..., Made], table: pd.DataFrame, window: pd.DataFrame) -> Pair:
    nothing = {name: np.float32(0) for name in WEATHER}
    return trained_on(table.assign(**nothing)), window


def a_unit_fault(fit: Callable[..., Made], table: pd.DataFrame, window: pd.DataFrame) -> Pair:
    """The station's reports come in SI units from one day on."""
    celsius = {name: (window[name] - 32) / 1.8 for name in ("temperature",)}
    metres = {"wind_speed": window["wind_speed"] * 0.447}
    return as_good(fit), window.assign(**celsius, **metres, precipitation=window["precipitation"] * 25.4)


def a_lost_carrier(fit: Callable[..., Made], table: pd.DataFrame, window: pd.DataFrame) -> Pair:
    """The rows of the carrier that is late most often were lost on the way to the training."""
    return trained_on(table[table["carrier"] != "Ember"]), window


def a_clock_off_by_an_hour(fit: Callable[..., Made], table: pd.DataFrame, window: pd.DataFrame) -> Pair:
    late = {name: (window[name] + 60) % 1440 for name in ("departure_minute", "promised")}
    return as_good(fit), window.assign(**late)


def miscalibrated(fit: Callable[..., Made], table: pd.DataFrame, window: pd.DataFrame) -> Pair:
    """The square of each probability: the same order, another meaning."""
    model = onnx.load_from_string(as_good(fit).model)
    for node in model.graph.node:
        node.output[:] = ["honest" if name == "probabilities" else name for name in node.output]
    late = [
        helper.make_node("Mul", ["honest", "honest"], ["squared"]),
        helper.make_node("Slice", ["squared", "from", "to", "axis"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    ]
    model.graph.node.extend(late)
    for name, value in (("from", 1), ("to", 2), ("axis", 1)):
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [value]))
    model.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]))
    return Made(model.SerializeToString(), PARAMS), window


def as_good(fit: Callable[..., Made]) -> Made:
    return fit(HONEST)


def trained_on(rows: pd.DataFrame) -> Made:
    return Made(train.fit(parameters.parse(PARAMS), rows, PROBLEM), PARAMS)


DEGRADED = {
    undertrained: {"log_loss"},
    a_tenth_of_the_data: {"log_loss"},
    label_noise: {"calibration"},
    no_weather: {"log_loss"},
    a_unit_fault: {"rows"},  # rows that the source does not have are refused before they are scored
    a_lost_carrier: {"slices"},
    a_clock_off_by_an_hour: {"rows"},
    miscalibrated: {"log_loss", "calibration"},
}


@pytest.mark.parametrize("degrade", DEGRADED, ids=lambda degrade: degrade.__name__)
def test_a_degraded_candidate_does_not_pass(degrade, fitted, base, table, window, tmp_path) -> None:
    made, rows = degrade(fitted, table, window)
    verdict, findings, _ = judge(made.write(tmp_path / "candidate", rows), base)
    assert verdict != "PASS"
    assert DEGRADED[degrade] <= {rule for rule, found in findings.items() if found["verdict"] != "PASS"}


def test_the_model_that_they_were_made_from_passes(fitted, base, window, tmp_path) -> None:
    assert judge(as_good(fitted).write(tmp_path / "candidate", window), base)[0] == "PASS"
