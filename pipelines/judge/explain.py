"""What the two models look at, side by side: permutation importance, partial dependence, SHAP values. Shown,
never judged: whatever a stranger's model does wrong becomes a note, not an exception."""

import math
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipelines.base.console import step
from pipelines.base.errors import one_line
from pipelines.core.contract import Contract
from pipelines.core.model import Inputs, Model
from pipelines.core.tasks.task import Task
from pipelines.judge.evidence import SEED, Evidence
from pipelines.judge.proposal import inputs

ROWS = 2_000  # of the test window, drawn once for both models
REPEATS = 5  # permutations of a feature
TOP = 4  # features whose partial dependence is shown
PLACES = 12  # on a feature's axis
AVERAGED = 500  # rows behind each of these places
EXPLAINED = 6  # rows with SHAP values, from the lowest answer to the highest
BACKGROUND = 50  # rows that stand for "a row like any other"
COALITIONS = 1_024  # sets of features that SHAP asks for, a row
MOST = 40  # features in gate.json
PACES = 3  # times that a model's pace is taken; the best counts, for the machine may be busy
PATIENCE_SECONDS = 30.0  # a model that would take longer is not explained


def explain(e: Evidence) -> dict[str, Any] | None:
    """gate.json's "explain": `importance`, `dependence` and `shap`, each by model, or {"note": why} for one
    that cannot be explained. None where the candidate was not scored, or no model changed. Seeded; never
    raises for what a model does."""
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
    subjects = {n: Subject(e.task, model, asked[n], label, known) for n, (model, _) in pairs.items()}
    importance = _each(subjects, _importance)
    closed = [c.name for c in e.contract.features if c.type == "words" and not c.loggable]
    top = [name for name in _top(importance) if name not in closed]
    own = e.task.each(e.candidate.p[rows])[np.arange(len(rows)), e.task.part(label)]
    ranked = np.argsort(own, kind="stable")
    spread = ranked[np.linspace(0, len(rows) - 1, EXPLAINED).astype(int)]  # lowest to highest, even by rank
    dependence = _each(subjects, lambda subject: _dependence(subject, _grids(subjects, top), e.contract))
    step("SHAP takes 5 s to start")
    shap = _each(subjects, lambda subject: _shap(subject, spread, e.contract))
    step("explained")
    found = {"importance": importance, "dependence": dependence, "shap": shap}
    return {"rows": len(rows), "repeats": REPEATS, **found}


def _each(subjects: dict[str, "Subject"], explanation: Callable[["Subject"], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, subject in subjects.items():
        try:
            subject.check_pace()
            found[name] = explanation(subject)
        except Exception as error:  # onnxruntime's, sklearn's and SHAP's, of a model that nobody vouches for
            found[name] = {"note": f"could not be explained: {one_line(str(error) or type(error).__name__)}"}
    return found


@dataclass
class Subject:
    """A model with sampled rows of the test window as numbers: a category is its value's place in `known`."""

    task: Task
    model: Model
    asked: Inputs  # (n, 1) each
    label: np.ndarray  # (n,)
    known: dict[str, np.ndarray]  # category -> its values, sorted

    def __post_init__(self) -> None:
        self.names = list(self.asked)
        given = {name: values[:, 0] for name, values in self.asked.items()}
        codes = (np.searchsorted(self.known[n], v) if self.is_category(n) else v for n, v in given.items())
        self.x = np.column_stack(list(codes)).astype(np.float64)

    def is_category(self, name: str) -> bool:
        return self.asked[name].dtype == object

    def p(self, x: np.ndarray) -> np.ndarray:
        """The numbers of the answers to rows of such numbers: (n, parts)."""
        return self.task.each(self.answers(x))

    def answers(self, x: np.ndarray) -> np.ndarray:
        """The answers themselves. ValueError where one is none."""
        columns: Inputs = {}
        for name, values in zip(self.names, np.asarray(x, dtype=np.float64).T, strict=True):
            category = self.is_category(name)
            given = self.known[name][values.astype(np.int64)] if category else values.astype(np.float32)
            columns[name] = given.reshape(-1, 1)
        p = self.model.predict(columns)
        wrong, kind = self.task.wrong(p)
        if p.shape != (len(x), *self.task.shape) or wrong.any():
            raise ValueError(f"for rows a little different it answers what is not a {kind}")
        return p

    def check_pace(self) -> None:
        """ValueError where all that is asked of the model here would take too long."""
        some = self.x[:200]
        a_row = min(timeit.repeat(lambda: self.p(some), number=1, repeat=PACES)) / len(some)
        rows = len(self.x) * len(self.names) * REPEATS + TOP * PLACES * AVERAGED
        seconds = a_row * (rows + EXPLAINED * COALITIONS * BACKGROUND)
        if seconds > PATIENCE_SECONDS:
            raise ValueError(f"it would take {seconds:.0f} s, and {PATIENCE_SECONDS:.0f} s is the most")


def _categories(tables: list[Inputs]) -> dict[str, np.ndarray]:
    """The values of each category in any of the models' rows, sorted."""
    given = [(name, values) for table in tables for name, values in table.items() if values.dtype == object]
    return {name: np.unique(np.concatenate([v for n, v in given if n == name])) for name, _ in given}


def _importance(subject: Subject) -> dict[str, Any]:
    """By how much the loss rises when a feature's values are shuffled among the rows (Breiman 2001;
    Fisher, Rudin & Dominici 2019): mean and standard deviation over the repeats, greatest first."""
    from sklearn.dummy import DummyClassifier
    from sklearn.inspection import permutation_importance

    def score(_: Any, x: np.ndarray, label: np.ndarray) -> float:
        return -float(subject.task.losses(label, subject.answers(x)).mean())

    drawn: dict[str, Any] = {"scoring": score, "n_repeats": REPEATS, "random_state": SEED}
    found = permutation_importance(DummyClassifier(), subject.x, subject.label, **drawn)
    features: list[dict[str, Any]] = [
        {"feature": one_line(name, 80), "mean": _number(mean), "sd": _number(sd)}
        for name, mean, sd in zip(subject.names, found.importances_mean, found.importances_std, strict=True)
    ]
    return {"features": sorted(features, key=lambda f: -f["mean"])[:MOST]}


def _top(importance: dict[str, Any]) -> list[str]:
    """The features that matter most to either model."""
    found = [feature for told in importance.values() for feature in told.get("features", ())]
    return list(dict.fromkeys(f["feature"] for f in sorted(found, key=lambda f: -f["mean"])))[:TOP]


def _grids(subjects: dict[str, Subject], top: list[str]) -> dict[str, np.ndarray]:
    """For each of these features the places at which both models are asked: a category's most frequent
    values, as codes, or a number's quantiles from .05 to .95."""
    grids: dict[str, np.ndarray] = {}
    for subject in subjects.values():
        for name in [name for name in subject.names if one_line(name, 80) in top and name not in grids]:
            given = subject.x[:, subject.names.index(name)]
            given = given[np.isfinite(given)]
            values, counts = np.unique(given, return_counts=True)
            if subject.is_category(name) and 2 * len(values) > len(given):
                continue  # texts, each of which is in one row or two
            if subject.is_category(name):
                grids[name] = np.sort(values[np.argsort(-counts, kind="stable")][:PLACES])
            elif len(values) <= PLACES:
                grids[name] = values
            else:
                grids[name] = np.unique(np.quantile(given, np.linspace(0.05, 0.95, PLACES), method="nearest"))
    return {name: grid for name in top for n, grid in grids.items() if one_line(n, 80) == name and len(grid)}


def _dependence(subject: Subject, grids: dict[str, np.ndarray], contract: Contract) -> dict[str, Any]:
    """The mean p over rows of the test window when a feature has one value in all of them (Friedman 2001); of
    several parts of an answer one after the other."""
    features, units = [], {column.name: column.unit for column in contract.features}
    for name, grid in grids.items():
        if name not in subject.names:
            continue
        place, category = subject.names.index(name), subject.is_category(name)
        if category and grid.max() >= len(subject.known[name]):
            continue  # a number in the other model
        x, means = subject.x[:AVERAGED].copy(), []
        for value in grid:
            x[:, place] = value
            means.append(subject.p(x).mean(axis=0))
        values = [one_line(str(v), 40) for v in subject.known[name][grid.astype(int)]] if category else grid
        about = {"feature": one_line(name, 80), "category": category, "unit": units.get(name, "")}
        places = [value if category else _number(value) for value in values]
        features.append(about | {"values": places, "p": [_number(mean) for mean in np.transpose(means).flat]})
    return {"features": features}


def _shap(subject: Subject, spread: np.ndarray, contract: Contract) -> dict[str, Any]:
    """SHAP values of a few rows by the kernel method (Lundberg & Lee 2017): they add up to p minus the mean p
    of the background, where p is the part of the answer that a row is explained by. A row's own values stand
    beside them where the contract lets a log keep them."""
    import shap

    loggable = {column.name for column in contract.loggable}
    background = subject.x[np.linspace(0, len(subject.x) - 1, BACKGROUND).astype(int)]
    before = np.random.get_state()
    np.random.seed(SEED)  # KernelExplainer draws from numpy's global generator, and takes no other
    try:
        explainer = shap.KernelExplainer(subject.p, background)
        found = explainer.shap_values(subject.x[spread], nsamples=COALITIONS, l1_reg=False, silent=True)
    finally:
        np.random.set_state(before)
    most = np.argsort(-np.abs(found).mean(axis=(0, 2)), kind="stable")[:MOST]
    names = [subject.names[i] for i in most]
    rows = [
        {
            "p": _number(subject.p(subject.x[[place]])[0, part]),
            "label": subject.task.label_words(subject.label[[place]])[0],
            "values": [_number(values[i, part]) for i in most],
            "given": [_given(subject.asked[n][place, 0]) if n in loggable else None for n in names],
        }
        for place, part, values in zip(spread, subject.task.part(subject.label[spread]), found, strict=True)
    ]
    features, base = [one_line(name, 80) for name in names], [_number(n) for n in explainer.expected_value]
    return {"base": base if len(base) > 1 else base[0], "features": features, "rows": rows}


def _given(value: Any) -> str | None:
    if isinstance(value, str):
        return one_line(value, 40)
    return None if pd.isna(value) else f"{float(value):.4g}"


def _number(value: Any) -> float:
    """Six digits are more than the report shows. ValueError where a number is none: JSON has no NaN."""
    if not math.isfinite(value):
        raise ValueError("a figure came out as no finite number")
    return float(f"{float(value):.6g}")
