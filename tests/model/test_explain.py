"""What the models look at is said truly, side by side, and no model can break it."""

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.core.model import Inputs
from pipelines.core.params import load
from pipelines.core.problem import Problem
from pipelines.core.tasks.binary import BINARY
from pipelines.judge import explain
from pipelines.judge.evidence import Evidence, Scored, Window
from pipelines.judge.proposal import inputs
from tests.problems.parcels import PARAMS, PROBLEM
from tests.problems.parcels.columns import CONTRACT

DAYS, ROWS = 10, 60  # a day
DRAW = np.random.default_rng(3)
TABLE = pd.DataFrame(
    {
        "strong": DRAW.normal(0, 1, DAYS * ROWS),
        "weak": DRAW.normal(0, 1, DAYS * ROWS),
        "ignored": DRAW.normal(0, 1, DAYS * ROWS),
        "group": DRAW.choice(["A", "B", "C"], DAYS * ROWS),
        "gappy": np.where(DRAW.random(DAYS * ROWS) < 0.5, np.nan, 1.0),
    }
)
Answer = Callable[[Inputs], np.ndarray]


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def good(x: Inputs) -> np.ndarray:
    logit = 2 * x["strong"] + 0.3 * x["weak"] + 1.5 * (x["group"] == "B") + np.isnan(x["gappy"]) - 1
    return sigmoid(logit[:, 0])


LABEL = DRAW.random(len(TABLE)) < good({name: TABLE[[name]].to_numpy() for name in TABLE})
DAY = np.repeat(np.arange(DAYS), ROWS)


def made(answer: Answer, table: pd.DataFrame = TABLE) -> tuple[Any, Scored]:
    model = SimpleNamespace(inputs=tuple(table.columns), predict=answer)
    p = answer(inputs(model, table))
    sums = BINARY.sums(LABEL, p, DAY, DAYS, 0.3, PARAMS.decision)
    return SimpleNamespace(model=model, sha256=str(id(model)), params=PARAMS), Scored(p, sums, 0.3, table)


def evidence(candidate: tuple[Any, Scored], champion: tuple[Any, Scored] | None = None) -> Evidence:
    window = Window(tuple(f"2013-06-{d + 1:02}" for d in range(DAYS)), DAY, LABEL, TABLE)
    beside, its = champion or (None, None)
    proposal, scored = candidate
    return Evidence(
        PARAMS,
        PROBLEM,
        proposal=proposal,
        champion_model=beside,
        window=window,
        candidate=scored,
        champion=its,
    )


def importance(told: dict[str, Any], model: str = "candidate") -> dict[str, dict[str, float]]:
    return {found["feature"]: found for found in told["importance"][model]["features"]}


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    champion = made(lambda x: sigmoid(2 * x["strong"][:, 0] - 1), TABLE[["strong", "ignored"]])
    found = explain.explain(evidence(made(good), champion))
    assert found is not None
    return json.loads(json.dumps(found, allow_nan=False))


def test_a_used_feature_matters_and_an_ignored_one_does_not(told: dict[str, Any]) -> None:
    found = importance(told)
    assert next(iter(found)) == "strong" and found["strong"]["mean"] > 10 * found["weak"]["mean"] > 0
    assert found["group"]["mean"] > 3 * found["group"]["sd"] > 0
    assert found["ignored"] == {"feature": "ignored", "mean": 0, "sd": 0}


def test_the_champion_is_explained_by_its_own_inputs(told: dict[str, Any]) -> None:
    assert set(importance(told, "champion")) == {"strong", "ignored"}
    dependence = [found["feature"] for found in told["dependence"]["champion"]["features"]]
    assert dependence == ["strong"]  # `ignored` is not among the features that matter most to either


def test_shap_values_add_up_to_the_probability_less_the_base(told: dict[str, Any]) -> None:
    for name in ("candidate", "champion"):
        shap = told["shap"][name]
        assert len(shap["rows"]) == explain.EXPLAINED
        for row in shap["rows"]:
            assert sum(row["values"]) == pytest.approx(row["p"] - shap["base"], abs=1e-4)
    candidate = told["shap"]["candidate"]
    ignored = candidate["features"].index("ignored")
    assert all(abs(row["values"][ignored]) < 1e-6 for row in candidate["rows"])
    assert candidate["rows"][0]["p"] < candidate["rows"][-1]["p"]


def test_both_models_are_explained_on_the_same_rows_and_places(told: dict[str, Any]) -> None:
    candidate, champion = told["dependence"]["candidate"], told["dependence"]["champion"]
    assert candidate["features"][0]["values"] == champion["features"][0]["values"]
    assert [r["label"] for r in told["shap"]["candidate"]["rows"]] == [
        r["label"] for r in told["shap"]["champion"]["rows"]
    ]


def test_partial_dependence_follows_the_model(told: dict[str, Any]) -> None:
    found = {entry["feature"]: entry for entry in told["dependence"]["candidate"]["features"]}
    assert np.all(np.diff(found["strong"]["p"]) > 0)
    group = dict(zip(found["group"]["values"], found["group"]["p"], strict=True))
    assert (
        set(group) == {"A", "B", "C"} and group["A"] == pytest.approx(group["C"]) and group["B"] > group["A"]
    )


def test_the_same_models_are_explained_in_the_same_words(told: dict[str, Any]) -> None:
    np.random.seed(99)  # SHAP draws from numpy's global generator
    before = np.random.get_state()[1].tolist()
    again = explain.explain(evidence(made(good)))
    assert again is not None and again["shap"]["candidate"] == told["shap"]["candidate"]
    assert importance(again) == importance(told)
    assert np.random.get_state()[1].tolist() == before  # and gives it back as it was


def test_values_that_no_log_may_keep_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = explain.explain(evidence(made(good)))
    assert found is not None
    assert all(given is None for row in found["shap"]["candidate"]["rows"] for given in row["given"])
    names = {column.name: column.name for column in CONTRACT.loggable[:2]}
    table = TABLE.assign(**{name: 7.25 for name in names})
    found = explain.explain(evidence(made(good, table)))
    assert found is not None
    shown = dict(
        zip(
            found["shap"]["candidate"]["features"],
            found["shap"]["candidate"]["rows"][0]["given"],
            strict=True,
        )
    )
    assert [shown[name] for name in names] == ["7.25", "7.25"] and shown["strong"] is None


CLASSES = Problem("tests.problems.delay")
CAME = DRAW.choice(3, len(TABLE), p=(0.6, 0.3, 0.1))


def of_classes(x: Inputs) -> np.ndarray:
    """p of the second class rises with `strong`, that of the third with `weak`."""
    scores = np.exp(np.column_stack([np.zeros(len(x["weak"])), 2 * x["strong"], x["weak"] - 2]))
    return scores / scores.sum(axis=1, keepdims=True)


def test_of_several_classes_each_has_a_curve_and_a_row_is_explained_by_the_one_that_came_true() -> None:
    task, params = CLASSES.task, load("tests/problems/delay/params.yaml")
    model = SimpleNamespace(inputs=("strong", "weak"), predict=of_classes)
    p = of_classes(inputs(model, TABLE))
    sums = task.sums(CAME, p, DAY, DAYS, (0.6, 0.3, 0.1), params.decision)
    candidate: Any = SimpleNamespace(model=model, sha256="1", params=params)
    e = replace(evidence((candidate, Scored(p, sums, 0.3, TABLE))), problem=CLASSES, params=params)
    assert e.window is not None
    told = explain.explain(replace(e, window=replace(e.window, label=CAME)))
    assert told is not None
    found = {entry["feature"]: entry for entry in told["dependence"]["candidate"]["features"]}
    for name, rises in (("strong", 1), ("weak", 2)):
        curves = np.split(np.array(found[name]["p"]), 3)
        assert [len(curve) for curve in curves] == [len(found[name]["values"])] * 3
        assert np.sum(curves, axis=0) == pytest.approx(1, abs=1e-5)
        assert [bool((np.diff(curve) > 0).all()) for curve in curves] == [n == rises for n in range(3)]
    shap = told["shap"]["candidate"]
    assert sum(shap["base"]) == pytest.approx(1, abs=1e-5)
    base = dict(zip(task.parts, shap["base"], strict=True))
    for row in shap["rows"]:
        assert sum(row["values"]) == pytest.approx(row["p"] - base[f"p({row['label']})"], abs=1e-4)
    assert [row["p"] for row in shap["rows"]] == sorted(row["p"] for row in shap["rows"])
    assert len({row["label"] for row in shap["rows"]}) > 1


def changes_its_mind(answers: Answer) -> Answer:
    """A model that behaves while it is scored and not afterwards."""
    asked = []

    def answer(x: Inputs) -> np.ndarray:
        asked.append(1)
        return good(x) if len(asked) == 1 else answers(x)

    return answer


def raising(x: Inputs) -> np.ndarray:
    raise RuntimeError("boom\n</details> " + "x" * 9000)


def slow(x: Inputs) -> np.ndarray:
    import time

    time.sleep(0.2)
    return good(x)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (raising, "boom </details>"),
        (lambda x: np.full(len(x["strong"]), np.nan), "not a probability"),
        (lambda x: good(x) + 1, "not a probability"),
        (lambda x: np.zeros(3), "not a probability"),
        (lambda x: (_ for _ in ()).throw(RecursionError()), "RecursionError"),
        (slow, "would take"),
    ],
)
def test_a_model_that_cannot_be_explained_is_a_note_beside_the_others(answers: Answer, why: str) -> None:
    told = explain.explain(evidence(made(changes_its_mind(answers)), made(good)))
    assert told is not None
    for part in ("importance", "dependence", "shap"):
        note = told[part]["candidate"]["note"]
        assert note.startswith("could not be explained: ") and why in note
        assert len(note) < 300 and "\n" not in note
        assert "note" not in told[part]["champion"]


def test_hostile_names_and_values_stay_short_text() -> None:
    name = "</script>\n" + "|" * 500
    table = TABLE.assign(**{name: DRAW.choice(["$\\frac{", "</td>\n" + "y" * 999], len(TABLE))})
    told = explain.explain(evidence(made(lambda x: good(x) * (0.5 + 0.5 * (x[name][:, 0] > "0")), table)))
    assert told is not None
    text = json.dumps(told, allow_nan=False).encode().decode()
    assert "</script> |||" in text and "|" * 100 not in text and "y" * 50 not in text


def test_nothing_to_explain_is_nothing() -> None:
    one = made(good)
    assert explain.explain(Evidence(PARAMS, PROBLEM)) is None
    assert explain.explain(evidence(one, one)) is None  # no model changed
