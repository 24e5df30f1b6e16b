"""Champions and candidates whose quality is known, for `benchmarks.gate`: equal ones, degraded ones, and ones
that lose exactly the margin. Fitted on the problem's own rows, for each month that training could end with.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import threadpoolctl  # type: ignore[import-untyped]
from scipy.optimize import brentq  # type: ignore[import-untyped]
from sklearn.pipeline import Pipeline

from pipelines import problem
from pipelines.core import stats, tables
from pipelines.core.params import Params
from pipelines.problem import PROBLEM, source
from pipelines.problem.columns import CONTRACT
from pipelines.training import prepare, table, train

CACHE = Path(".greenlight/bench")
TIME, LABEL = CONTRACT.time.name, CONTRACT.label.name
WEEK = 7  # days
WEEKS = 13  # after a cut: the later days that a pair is asked about
LEAST_MONTHS = 3  # of training

SEEDS = (1, 2, 3)
SETTINGS: dict[str, dict[str, Any]] = {  # as good as params.yaml's own: within .001 of log-loss over the year
    "more leaves": {"max_leaf_nodes": 20},
    "more features": {"max_features": 0.7},
    "slower": {"learning_rate": 0.04, "max_iter": 125},
    "penalised": {"l2_regularization": 10.0},
}
DEGRADED = (
    "undertrained",
    "a tenth of the days",
    "5 % label noise",
    "no weather",
    "unit fault",
    "lost carrier",
    "miscalibrated",
    "clock off by one hour",
)
MEASURED = [column.name for column in CONTRACT.features if column.known_at == CONTRACT.horizon]  # the weather
CLOCK = [column.name for column in CONTRACT.features if column.unit == "minutes after midnight"]
METRIC: dict[str, Callable[[Any], Any]] = {  # what a station that switched to metric units would send
    "°F": lambda value: (value - 32) / 1.8,
    "mph": lambda value: value * 1.609344,
    "inches": lambda value: value * 25.4,
    "miles": lambda value: value * 1.609344,
}


@dataclass(frozen=True)
class Later:
    """The labelled rows of the days after a cut, in time's order, and each model's answers to them."""

    cut: str  # the last month of training
    rate: float  # the label rate of the training
    days: tuple[str, ...]
    day: np.ndarray  # (n,) 0..D-1
    label: np.ndarray  # (n,) bool
    rows: pd.DataFrame  # (n) key, time and slices
    answers: dict[str, np.ndarray]  # of each model, (n,)


def cuts() -> list[str]:
    """The months that training can end with: enough before them, and four weeks at least behind them."""
    return source.months()[LEAST_MONTHS - 1 : -1]


def load(params: Params) -> pd.DataFrame:
    """Every row that the source has, labelled, as prepared.parquet has them; kept in CACHE."""
    path = CACHE / f"rows-{_key(params)}.parquet"
    if not path.is_file():
        raw = pd.concat([source.read(month) for month in source.months()], ignore_index=True)
        raw = raw.sort_values([TIME, CONTRACT.key.name], kind="stable", ignore_index=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        tables.write(path, prepare.prepare(raw[raw[LABEL].notna()].reset_index(drop=True), PROBLEM))
    return table.load(path)


def later(cut: str, rows: pd.DataFrame, params: Params) -> Later:
    """The whole weeks after `cut`, up to WEEKS of them, and the answers of every model fitted up to it."""
    end = pd.Timestamp(cut) + pd.DateOffset(months=1)
    past = rows[rows[TIME] < end]
    age = (rows[TIME].dt.normalize() - end).dt.days
    weeks = min(WEEKS, (int(age.max()) + 1) // WEEK)
    asked = rows[(age >= 0) & (age < weeks * WEEK)].reset_index(drop=True)
    path = CACHE / f"answers-{cut}-{_key(params)}.npz"
    if not path.is_file():
        made = dict(answers(past, asked, params))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **made)  # type: ignore[arg-type]
    day, days = pd.factorize(asked[TIME].dt.strftime("%Y-%m-%d"), sort=True)
    names = dict.fromkeys([CONTRACT.key.name, TIME, *(column.name for column in CONTRACT.slices)])
    with np.load(path) as kept:
        answered = {name: kept[name] for name in kept.files}
    label = asked[LABEL].to_numpy(dtype=bool)
    rate = float(past[LABEL].astype(bool).mean())
    return Later(cut, rate, tuple(days), day, label, asked[list(names)], answered)


def _key(params: Params) -> str:
    """What the answers depend on, as 12 hexadecimal digits."""
    modules = [Path(inspect.getfile(module)) for module in (prepare, train)]
    files = [Path(__file__), *modules, *sorted(Path(problem.__path__[0]).glob("*.py"))]
    settings = json.dumps([params.train.model_dump(), sklearn.__version__, np.__version__])
    return hashlib.sha256(b"".join(f.read_bytes() for f in files) + settings.encode()).hexdigest()[:12]


def answers(past: pd.DataFrame, asked: pd.DataFrame, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """Each model's name and its answers to `asked`, fitted on `past`, or on what a fault left of it.

    A fault in serving befalls a twin of the champion: a model that is as good, with another seed.
    """
    yield "champion", _answer(_fit(past, params), asked)
    twin, *others = (_fit(past, params, seed) for seed in SEEDS)
    for seed, model in zip(SEEDS, (twin, *others), strict=True):
        yield f"seed {seed}", _answer(model, asked)
    for name, settings in SETTINGS.items():
        yield name, _answer(_fit(past, params, SEEDS[0], **settings), asked)
    draw, days = np.random.default_rng(1), past[TIME].dt.normalize()

    few = int(params.train.settings["max_iter"] or 0) // 10
    yield "undertrained", _answer(_fit(past, params, SEEDS[0], max_iter=few), asked)
    # A tenth of the rows would still have seen every day's weather, and loses little.
    kept = draw.permutation(days.unique())[: days.nunique() // 10]
    yield "a tenth of the days", _answer(_fit(past[days.isin(kept)], params, SEEDS[0]), asked)
    wrong = past[LABEL].astype(bool) ^ (draw.random(len(past)) < 0.05)
    yield "5 % label noise", _answer(_fit(past.assign(**{LABEL: wrong}), params, SEEDS[0]), asked)
    nothing = dict.fromkeys(MEASURED, np.float32(0))
    blind = _fit(past.assign(**nothing), params, SEEDS[0])
    yield "no weather", _answer(blind, asked.assign(**nothing))
    column, value = oddest(past)
    yield "lost carrier", _answer(_fit(past[past[column] != value], params, SEEDS[0]), asked)

    yield "unit fault", _answer(twin, metric(asked))
    yield "miscalibrated", logistic(2 * logit(_answer(twin, asked)))  # twice as sure as it may be
    yield "clock off by one hour", _answer(twin, clock(asked))


def oddest(rows: pd.DataFrame) -> tuple[str, str]:
    """The first slice column, and the value of it that it costs most not to know: many rows, far from the
    common label rate. For flights: EV, a sixth of all, and the latest of the large carriers."""
    column = CONTRACT.slices[0].name
    label = rows[LABEL].astype(float)
    return column, str((label - label.mean()).groupby(rows[column]).sum().abs().idxmax())


def metric(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as a weather station that switched to metric units would send them."""
    units = {name: CONTRACT.column(name).unit for name in MEASURED}
    return rows.assign(**{n: METRIC[u](rows[n]).astype(np.float32) for n, u in units.items() if u in METRIC})


def clock(rows: pd.DataFrame, minutes: int = 60) -> pd.DataFrame:
    """The rows by a clock that is ahead, as where summer time was forgotten."""
    return rows.assign(**{name: ((rows[name] + minutes) % 1440).astype(np.float32) for name in CLOCK})


def at_the_margin(its: Later, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """Answers that lose exactly the margin of one metric over all of `its` rows, in two ways for each: with
    noise of every row's own, and towards a model that lacks something."""
    noise = np.random.default_rng(2).normal(0, 3, len(its.label))
    champion = its.answers["champion"]
    blurred = logistic(logit(champion) + noise)
    margin = params.gate.margin
    assert isinstance(margin.log_loss, float) and isinstance(margin.roc_auc, float)  # no share
    for name, other in {"noise": blurred, "undertrained": its.answers["undertrained"]}.items():
        yield f"log-loss, {name}", losing(its.label, champion, other, log_loss, margin.log_loss)
    for name, other in {"noise": blurred, "no weather": its.answers["no weather"]}.items():
        yield f"ROC-AUC, {name}", losing(its.label, champion, other, lost_auc, margin.roc_auc)


def log_loss(label: np.ndarray, p: np.ndarray) -> float:
    return float(stats.log_loss(_pooled(label, p)))


def lost_auc(label: np.ndarray, p: np.ndarray) -> float:
    return 1 - float(stats.roc_auc(_pooled(label, p)))


def _pooled(label: np.ndarray, p: np.ndarray) -> stats.DaySums:
    return stats.day_sums(label, p, np.zeros(len(p), dtype=np.int64), 1, 0.5)


def losing(
    label: np.ndarray, champion: np.ndarray, other: np.ndarray, loss: Callable[..., float], margin: float
) -> np.ndarray:
    """Answers that are worse than the champion's on these rows by `margin` in `loss`, to 1e-9.

    They are on the line from the champion's logits to `other`'s, which must be worse than the margin: the
    loss is nothing at its one end, more than the margin at its other, and continuous, so there is a point
    where it is the margin.
    """
    here, there, base = logit(champion), logit(other), loss(label, champion)

    def at(weight: float) -> np.ndarray:
        return logistic((1 - weight) * here + weight * there)

    weight = brentq(lambda w: loss(label, at(w)) - base - margin, 0, 1, xtol=1e-12, rtol=1e-12)
    return at(weight)


def logit(p: np.ndarray) -> np.ndarray:
    safe = np.clip(p, 1e-9, 1 - 1e-9)
    return np.log(safe / (1 - safe))


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _fit(rows: pd.DataFrame, params: Params, seed: int | None = None, **settings: Any) -> Pipeline:
    changed = {"settings": {**params.train.settings, **settings}}
    if seed is not None:
        changed["seed"] = seed  # type: ignore[assignment]
    chosen = params.train.model_copy(update=changed)
    return train.fit_pipeline(params.model_copy(update={"train": chosen}), rows, PROBLEM)


def _answer(pipeline: Pipeline, rows: pd.DataFrame) -> np.ndarray:
    """By sklearn, from which the shipped ONNX model differs by less than train.PARITY."""
    with threadpoolctl.threadpool_limits(limits=1):
        return pipeline.predict_proba(train.frame(rows, CONTRACT))[:, 1]
