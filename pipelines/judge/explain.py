"""What the two models look at, side by side: permutation importance, partial dependence, SHAP values.

Shown, never judged. A model is a stranger's: whatever it does wrong becomes a note, not an exception.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin

from pipelines.base.console import step
from pipelines.core.contract import Contract
from pipelines.core.model import Inputs, Model
from pipelines.judge.evidence import SEED, Evidence
from pipelines.judge.proposal import inputs, one_line

ROWS = 2_000  # of the test window, drawn once for both models
REPEATS = 5  # permutations of a feature
TOP = 4  # features whose partial dependence is shown
PLACES = 12  # on a feature's axis
AVERAGED = 500  # rows behind each of these places
EXPLAINED = 6  # rows with SHAP values, from the lowest probability to the highest
BACKGROUND = 50  # rows that stand for "a row like any other"
COALITIONS = 1_024  # sets of features that SHAP asks for, a row
MOST = 40  # features in gate.json
PATIENCE_SECONDS = 30.0  # a model that would take longer is not explained


def explain(e: Evidence) -> dict[str, Any] | None:
    """gate.json's "explain": `importance`, `dependence` and `shap`, each by model.

    A model that cannot be explained has {"note": why} instead. None where there is nothing to explain: the
    candidate was not scored, or no model changed. Seeded; never raises for what a model does.
    """
    if e.window is None or e.candidate is None or e.proposal is None or e.unchanged:
        return None
    step("explaining what the models look at")
    pairs = {"candidate": (e.proposal.model, e.candidate)}
    if e.champion_model is not None and e.champion is not None:
        pairs["champion"] = (e.champion_model.model, e.champion)
    rows = np.random.default_rng(SEED).permutation(len(e.window.label))[:ROWS]
    label = e.window.label[rows]
    asked = {name: inputs(model, scored.features.iloc[rows]) for name, (model, scored) in pairs.items()}
    known = _categories(list(asked.values()))
    subjects = {name: Subject(model, asked[name], label, known) for name, (model, _) in pairs.items()}
    importance = _each(subjects, _importance)
    top = _top(importance)
    spread = _spread(e.candidate.p[rows])
    dependence = _each(subjects, lambda subject: _dependence(subject, _grids(subjects, top), e.contract))
    step("SHAP takes 5 s to start")
    shap = _each(subjects, lambda subject: _shap(subject, spread, e.contract))
    step("explained")
    return {
        "rows": len(rows),
        "repeats": REPEATS,
        "importance": importance,
        "dependence": dependence,
        "shap": shap,
    }


def _each(subjects: dict[str, "Subject"], explanation: Callable[["Subject"], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, subject in subjects.items():
        try:
            subject.check_pace()
            found[name] = explanation(subject)
        except Exception as error:  # onnxruntime's, sklearn's and SHAP's, of a model that nobody vouches for
            found[name] = {"note": f"could not be explained: {one_line(str(error) or type(error).__name__)}"}
    return found


# --- a model as sklearn and SHAP see one -------------------------------------------------------------------


@dataclass
class Subject:
    """A model with sampled rows of the test window as numbers: a category is its value's place in `known`."""

    model: Model
    asked: Inputs  # (n, 1) each
    label: np.ndarray  # (n,) bool
    known: dict[str, np.ndarray]  # category -> its values, sorted

    def __post_init__(self) -> None:
        self.names = list(self.asked)
        self.x = np.column_stack([self._codes(name) for name in self.names]).astype(np.float64)

    def _codes(self, name: str) -> np.ndarray:
        values = self.asked[name][:, 0]
        return np.searchsorted(self.known[name], values) if self.is_category(name) else values

    def is_category(self, name: str) -> bool:
        return self.asked[name].dtype == object

    def p(self, x: np.ndarray) -> np.ndarray:
        """P(label) of rows of such numbers: float64 of shape (n,). ValueError where one is not finite."""
        columns: Inputs = {}
        for place, name in enumerate(self.names):
            values = np.asarray(x[:, place], dtype=np.float64)
            if self.is_category(name):
                columns[name] = self.known[name][values.astype(np.int64)].reshape(-1, 1)
            else:
                columns[name] = values.astype(np.float32).reshape(-1, 1)
        p = self.model.predict(columns)
        if p.shape != (len(x),) or not ((p >= 0) & (p <= 1)).all():
            raise ValueError("for rows a little different it answers what is not a probability")
        return p

    def check_pace(self) -> None:
        """ValueError where all that is asked of the model here would take too long."""
        started = time.perf_counter()
        self.p(self.x[:200])
        a_row = (time.perf_counter() - started) / min(200, len(self.x))
        rows = len(self.x) * len(self.names) * REPEATS + TOP * PLACES * AVERAGED
        seconds = a_row * (rows + EXPLAINED * COALITIONS * BACKGROUND)
        if seconds > PATIENCE_SECONDS:
            raise ValueError(f"it would take {seconds:.0f} s, and {PATIENCE_SECONDS:.0f} s is the most")


class AsClassifier(ClassifierMixin, BaseEstimator):
    """A subject as sklearn sees a fitted classifier."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.classes_ = np.array([False, True])

    def fit(self, x: np.ndarray, y: np.ndarray) -> "AsClassifier":
        """Nothing: the model is what it is."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """(n, 2): P(not label), P(label)."""
        p = self.subject.p(np.asarray(x))
        return np.column_stack([1 - p, p])


def _categories(tables: list[Inputs]) -> dict[str, np.ndarray]:
    """The values of each category in any of the models' rows, sorted."""
    found: dict[str, set[str]] = {}
    for table in tables:
        for name, values in table.items():
            if values.dtype == object:
                found.setdefault(name, set()).update(values[:, 0])
    return {name: np.array(sorted(values), dtype=object) for name, values in found.items()}


# --- the three explanations --------------------------------------------------------------------------------


def _importance(subject: Subject) -> dict[str, Any]:
    """By how much the log-loss rises when a feature's values are shuffled among the rows (Breiman 2001;
    Fisher, Rudin & Dominici 2019): mean and standard deviation over the repeats, in nats, greatest first.
    """
    from sklearn.inspection import permutation_importance

    found = permutation_importance(
        AsClassifier(subject),
        subject.x,
        subject.label,
        scoring="neg_log_loss",
        n_repeats=REPEATS,
        random_state=SEED,
    )
    features: list[dict[str, Any]] = [
        {"feature": one_line(name, 80), "mean": _number(mean), "sd": _number(sd)}
        for name, mean, sd in zip(subject.names, found.importances_mean, found.importances_std, strict=True)
    ]
    return {"features": sorted(features, key=lambda f: -f["mean"])[:MOST]}


def _top(importance: dict[str, Any]) -> list[str]:
    """The features that matter most to either model."""
    most: dict[str, float] = {}
    for told in importance.values():
        for found in told.get("features", ()):
            most[found["feature"]] = max(most.get(found["feature"], -math.inf), found["mean"])
    return sorted(most, key=lambda name: -most[name])[:TOP]


def _grids(subjects: dict[str, Subject], top: list[str]) -> dict[str, np.ndarray]:
    """For each of these features the places at which both models are asked: a category's most frequent
    values, as codes, or a number's quantiles from .05 to .95."""
    grids: dict[str, np.ndarray] = {}
    for subject in subjects.values():
        for name in [name for name in subject.names if one_line(name, 80) in top and name not in grids]:
            given = subject.x[:, subject.names.index(name)]
            given = given[np.isfinite(given)]
            values, counts = np.unique(given, return_counts=True)
            if subject.is_category(name):
                grids[name] = np.sort(values[np.argsort(-counts, kind="stable")][:PLACES])
            elif len(values) <= PLACES:
                grids[name] = values
            else:
                grids[name] = np.unique(np.quantile(given, np.linspace(0.05, 0.95, PLACES), method="nearest"))
    return {name: grid for name in top for n, grid in grids.items() if one_line(n, 80) == name and len(grid)}


def _dependence(subject: Subject, grids: dict[str, np.ndarray], contract: Contract) -> dict[str, Any]:
    """The mean p over rows of the test window when a feature has one value in all of them (Friedman 2001)."""
    from sklearn.inspection import partial_dependence

    features, units = [], {column.name: column.unit for column in contract.features}
    for name, grid in grids.items():
        if name not in subject.names:
            continue
        place, category = subject.names.index(name), subject.is_category(name)
        if category and grid.max() >= len(subject.known[name]):
            continue  # a number in the other model
        found = partial_dependence(
            AsClassifier(subject),
            subject.x[:AVERAGED],
            [place],
            categorical_features=[place] if category else None,
            custom_values={place: grid},
            response_method="predict_proba",
            method="brute",
        )
        values = [one_line(str(v), 40) for v in subject.known[name][grid.astype(int)]] if category else grid
        features.append(
            {
                "feature": one_line(name, 80),
                "category": category,
                "unit": units.get(name, ""),
                "values": [value if category else _number(value) for value in values],
                "p": [_number(p) for p in found["average"][0]],
            }
        )
    return {"features": features}


def _spread(p: np.ndarray) -> np.ndarray:
    """EXPLAINED places in `p`, from the lowest to the highest, even by rank."""
    return np.argsort(p, kind="stable")[np.linspace(0, len(p) - 1, EXPLAINED).astype(int)]


def _shap(subject: Subject, spread: np.ndarray, contract: Contract) -> dict[str, Any]:
    """SHAP values of a few rows by the kernel method (Lundberg & Lee 2017): they add up to p minus the mean p
    of the background. A row's own values stand beside them where the contract lets a log keep them.
    """
    import shap

    loggable = {column.name for column in contract.loggable}
    background = subject.x[np.linspace(0, len(subject.x) - 1, BACKGROUND).astype(int)]
    with _seeded():
        explainer = shap.KernelExplainer(subject.p, background)
        found = explainer.shap_values(subject.x[spread], nsamples=COALITIONS, l1_reg=False, silent=True)
    most = np.argsort(-np.abs(found).mean(axis=0), kind="stable")[:MOST]
    rows = []
    for place, values in zip(spread, np.asarray(found), strict=True):
        given = [subject.asked[subject.names[i]][place, 0] for i in most]
        rows.append(
            {
                "p": _number(subject.p(subject.x[[place]])[0]),
                "label": bool(subject.label[place]),
                "values": [_number(values[i]) for i in most],
                "given": [
                    _given(v) if subject.names[i] in loggable else None
                    for v, i in zip(given, most, strict=True)
                ],
            }
        )
    return {
        "base": _number(explainer.expected_value),
        "features": [one_line(subject.names[i], 80) for i in most],
        "rows": rows,
    }


@contextmanager
def _seeded() -> Iterator[None]:
    """KernelExplainer draws from numpy's global generator, and takes no other."""
    before = np.random.get_state()
    np.random.seed(SEED)
    try:
        yield
    finally:
        np.random.set_state(before)


def _given(value: Any) -> str | None:
    if isinstance(value, str):
        return one_line(value, 40)
    return None if pd.isna(value) else f"{float(value):.4g}"


def _number(value: Any) -> float:
    """Six digits are more than the report shows. ValueError where a number is none: JSON has no NaN."""
    if not math.isfinite(value):
        raise ValueError("a figure came out as no finite number")
    return float(f"{float(value):.6g}")
