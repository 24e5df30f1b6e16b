"""Champions and candidates whose quality is known, for `benchmarks.gate`: equal ones, degraded ones, and ones
that lose exactly the margin. Fitted on the rows of a problem, for each month that training could end with.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import threadpoolctl  # type: ignore[import-untyped]
from scipy.optimize import brentq  # type: ignore[import-untyped]
from scipy.special import softmax  # type: ignore[import-untyped]
from sklearn.pipeline import Pipeline

from pipelines.core import params as parameters
from pipelines.core import tables
from pipelines.core.contract import Contract
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Metric, Task
from pipelines.training import prepare, table, train

CACHE = Path(".greenlight/bench")
WEEK = 7  # days
WEEKS = 13  # after a cut: the later days that a pair is asked about
SEEDS = (1, 2, 3)
METRIC: dict[str, Callable[[Any], Any]] = {  # what a station that switched to metric units would send
    "°F": lambda value: (value - 32) / 1.8,
    "mph": lambda value: value * 1.609344,
    "inches": lambda value: value * 25.4,
    "miles": lambda value: value * 1.609344,
}


@dataclass(frozen=True)
class Subject:
    """A problem, and how its models are made as good as params.yaml's own, or worse."""

    problem: Problem
    params: Params
    settings: Mapping[str, Mapping[str, Any]]  # as good: within a fifth of a margin over the year
    long: str  # the setting that says how long it trains
    blind: tuple[str, tuple[str, ...]]  # columns that a model can do without, but badly
    clock: Mapping[str, tuple[int, int]]  # columns that tell the hour: how far off, of a whole day
    off: str = "one hour"
    least: int = 3  # months of training
    absent: tuple[str, Callable[[pd.DataFrame], Any]] | None = None  # which rows; None: the oddest of a slice
    few: int = 10  # times shorter, where it is undertrained
    noise: float = 0.05  # share of the labels that are wrong
    sure: float = 2.0  # times as far from the middle as it may be

    @property
    def contract(self) -> Contract:
        return self.problem.contract

    @property
    def task(self) -> Task:
        return self.problem.task

    @property
    def degraded(self) -> tuple[str, ...]:
        """The names of its degraded models."""
        return (
            "undertrained",
            "a tenth of the days",
            f"{self.noise:.0%} label noise".replace("%", " %"),
            f"no {self.blind[0]}",
            "unit fault",
            f"lost {self.absent[0] if self.absent else self.contract.slices[0].name}",
            "miscalibrated",
            f"clock off by {self.off}",
        )

    @property
    def edges(self) -> dict[Metric, tuple[str, str]]:
        """The names of the pairs that lose exactly the margin of each metric: by noise of every row's own,
        and towards a degraded model."""
        worse = zip(self.task.compared[::-1], (self.degraded[0], self.degraded[3]), strict=True)
        return {metric: (f"{metric.name}, noise", f"{metric.name}, {name}") for metric, name in worse}

    def lost(self, metric: Metric, label: np.ndarray, answers: np.ndarray) -> float:
        """The metric over all rows, less being better."""
        one, constant = np.zeros(len(label), dtype=np.int64), self.task.constant(label)
        sums = self.task.sums(label, answers, one, 1, constant, self.params.decision)
        return -metric.sign * float(metric.of(sums, None))

    def margin(self, metric: Metric, champion: float) -> float:
        """How much more than the champion's a loss may be."""
        return parameters.absolute(getattr(self.params.gate.margin, metric.key), of=champion)


@cache
def subject(kind: str) -> Subject:
    """The problem of this kind of answer: the template's own, or one of the tests'."""
    return SUBJECTS[kind]()


def _flights() -> Subject:
    from pipelines.problem import PROBLEM

    features = PROBLEM.contract.features
    return Subject(
        PROBLEM,
        parameters.load(),
        settings={
            "more leaves": {"max_leaf_nodes": 20},
            "more features": {"max_features": 0.7},
            "slower": {"learning_rate": 0.04, "max_iter": 125},
            "penalised": {"l2_regularization": 10.0},
        },
        long="max_iter",
        blind=("weather", tuple(c.name for c in features if c.known_at == PROBLEM.contract.horizon)),
        clock={c.name: (60, 1440) for c in features if c.unit == "minutes after midnight"},
    )


def _heat() -> Subject:
    problem = Problem("tests.problems.heat")
    params = parameters.load(problem.folder / "params.yaml")
    # Without a share of the features no seed would change anything; with few trees it would change much.
    drawn = {**params.train.settings, "features": 0.7, "trees": 200}
    return Subject(
        problem,
        params.model_copy(update={"train": params.train.model_copy(update={"settings": drawn})}),
        settings={"more features": {"features": 0.75}, "penalised": {"penalty": 1.0}, "leaf": {"leaf": 101}},
        long="trees",
        blind=("thermometer", ("air", "air_change", "dew")),
        clock={"hour_of_day": (2, 24)},
        off="two hours",
        least=6,  # no tree says a summer that it has not seen
        absent=("afternoons", lambda rows: rows["hour_of_day"].between(12, 17)),
        noise=0.2,
        sure=0.7,
    )


def _delay() -> Subject:
    problem = Problem("tests.problems.delay")
    params = parameters.load(problem.folder / "params.yaml")
    drawn = {**params.train.settings, "features": 0.7}
    return Subject(
        problem,
        params.model_copy(update={"train": params.train.model_copy(update={"settings": drawn})}),
        settings={"more features": {"features": 0.8}, "penalised": {"penalty": 3.0}, "leaf": {"leaf": 210}},
        long="trees",
        blind=("weather", ("air", "moisture", "wind", "rain", "barometer", "sight")),
        clock={"minute": (240, 1440)},
        off="four hours",
        least=6,
        few=20,
        noise=0.6,
    )


SUBJECTS: dict[str, Callable[[], Subject]] = {"binary": _flights, "multiclass": _delay, "regression": _heat}


@dataclass(frozen=True)
class Later:
    """The labelled rows of the days after a cut, in time's order, and each model's answers to them."""

    cut: str  # the last month of training
    constant: Any  # the task's, of the training
    days: tuple[str, ...]
    day: np.ndarray  # (n,) 0..D-1
    label: np.ndarray  # (n,)
    rows: pd.DataFrame  # (n) key, time and slices
    answers: dict[str, np.ndarray]  # of each model


def cuts(its: Subject) -> list[str]:
    """The months that training can end with: enough before them, and four weeks at least behind them."""
    return list(its.problem.source.months()[its.least - 1 : -1])


def load(its: Subject) -> pd.DataFrame:
    """Every row that the source has, labelled, as prepared.parquet has them; kept in CACHE."""
    path, contract, source = CACHE / f"rows-{_key(its)}.parquet", its.contract, its.problem.source
    if not path.is_file():
        raw = pd.concat([source.read(month) for month in source.months()], ignore_index=True)
        order = [contract.time.name, contract.key.name]
        raw = raw.sort_values(order, kind="stable", ignore_index=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        labelled = raw[raw[contract.label.name].notna()].reset_index(drop=True)
        tables.write(path, prepare.prepare(labelled, its.problem))
    return table.load(path)


def later(cut: str, rows: pd.DataFrame, its: Subject) -> Later:
    """The whole weeks after `cut`, up to WEEKS of them, and the answers of every model fitted up to it."""
    end, contract = pd.Timestamp(cut) + pd.DateOffset(months=1), its.contract
    time = contract.time.name
    past = rows[rows[time] < end]
    age = (rows[time].dt.normalize() - end).dt.days
    weeks = min(WEEKS, (int(age.max()) + 1) // WEEK)
    asked = rows[(age >= 0) & (age < weeks * WEEK)].reset_index(drop=True)
    path = CACHE / f"answers-{cut}-{_key(its)}.npz"
    if not path.is_file():
        made = dict(answers(past, asked, its))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **made)  # type: ignore[arg-type]
    day, days = pd.factorize(asked[time].dt.strftime("%Y-%m-%d"), sort=True)
    names = dict.fromkeys([contract.key.name, time, *(column.name for column in contract.slices)])
    with np.load(path) as kept:
        answered = {name: kept[name] for name in kept.files}
    label = its.task.labels(asked[contract.label.name])
    return Later(cut, table.constant(past, contract), tuple(days), day, label, asked[list(names)], answered)


def _key(its: Subject) -> str:
    """What the answers depend on, as 12 hexadecimal digits."""
    modules = [Path(inspect.getfile(module)) for module in (prepare, train)]
    files = [Path(__file__), *modules, *sorted(its.problem.folder.glob("*.py"))]
    settings = json.dumps([its.params.train.model_dump(), sklearn.__version__, np.__version__])
    return hashlib.sha256(b"".join(f.read_bytes() for f in files) + settings.encode()).hexdigest()[:12]


def answers(past: pd.DataFrame, asked: pd.DataFrame, its: Subject) -> Iterator[tuple[str, np.ndarray]]:
    """Each model's name and its answers to `asked`, fitted on `past`, or on what a fault left of it.

    A fault in serving befalls a twin of the champion: a model that is as good, with another seed.
    """
    label, time = its.contract.label.name, its.contract.time.name
    yield "champion", _answer(_fit(past, its), asked, its)
    twin, *others = (_fit(past, its, seed) for seed in SEEDS)
    for seed, model in zip(SEEDS, (twin, *others), strict=True):
        yield f"seed {seed}", _answer(model, asked, its)
    for name, settings in its.settings.items():
        yield name, _answer(_fit(past, its, SEEDS[0], **settings), asked, its)
    draw, days = np.random.default_rng(1), past[time].dt.normalize()
    undertrained, tenth, noisy, no, unit, lost, miscalibrated, early = its.degraded

    few = {its.long: int(its.params.train.settings[its.long] or 0) // its.few}
    yield undertrained, _answer(_fit(past, its, SEEDS[0], **few), asked, its)
    # A tenth of the rows would still have seen every day's weather, and loses little.
    kept = draw.permutation(days.unique())[: days.nunique() // 10]
    yield tenth, _answer(_fit(past[days.isin(kept)], its, SEEDS[0]), asked, its)
    wrong = mistaken(past[label], draw, its.noise)
    yield noisy, _answer(_fit(past.assign(**{label: wrong}), its, SEEDS[0]), asked, its)
    nothing = dict.fromkeys(its.blind[1], np.float32(0))
    blind = _fit(past.assign(**nothing), its, SEEDS[0])
    yield no, _answer(blind, asked.assign(**nothing), its)
    gone = its.absent[1](past) if its.absent else oddest(past, its)
    yield lost, _answer(_fit(past[~gone], its, SEEDS[0]), asked, its)

    yield unit, _answer(twin, metric(asked, its), its)
    sure = _answer(twin, asked, its)
    middle = its.task.constant(its.task.labels(past[label]))
    yield miscalibrated, surer(sure, middle, its)
    yield early, _answer(twin, clock(asked, its), its)


def mistaken(labels: pd.Series, draw: np.random.Generator, share: float) -> pd.Series:
    """The labels, some of them wrong: the other one of two, else that of another row."""
    wrong = draw.random(len(labels)) < share
    if labels.nunique() == 2:
        return labels.astype(bool) ^ wrong
    return labels.mask(wrong, pd.Series(draw.permutation(labels.to_numpy()), labels.index))


def surer(answers: np.ndarray, constant: Any, its: Subject) -> np.ndarray:
    """Answers that are farther from the middle than they may be."""
    if its.task.bounds is None:
        middle = its.task.rate(constant)
        return middle + its.sure * (answers - middle)
    return probabilities(its.sure * logits(answers))


def oddest(rows: pd.DataFrame, its: Subject) -> pd.Series:
    """The rows of that value of the first slice column that it costs most not to know: many rows, far from
    the common label rate. For flights: EV, a sixth of all, and the latest of the large carriers."""
    values = rows[its.contract.slices[0].name]
    label = pd.Series(
        its.task.level(its.task.labels(rows[its.contract.label.name])).astype(float), rows.index
    )
    return values == (label - label.mean()).groupby(values).sum().abs().idxmax()


def metric(rows: pd.DataFrame, its: Subject) -> pd.DataFrame:
    """The rows as a weather station that switched to metric units would send them."""
    here = (c for c in its.contract.features if c.known_at == its.contract.horizon and not c.derived)
    measured = {column.name: column.unit for column in here if column.unit in METRIC}
    return rows.assign(**{n: METRIC[unit](rows[n]).astype(np.float32) for n, unit in measured.items()})


def clock(rows: pd.DataFrame, its: Subject) -> pd.DataFrame:
    """The rows by a clock that is ahead, as where summer time was forgotten."""
    told = its.clock.items()
    return rows.assign(**{n: ((rows[n] + hour) % day).astype(np.float32) for n, (hour, day) in told})


def at_the_margin(later: Later, its: Subject) -> Iterator[tuple[str, np.ndarray]]:
    """Answers that lose exactly the margin of one metric over all rows after the cut."""
    champion = later.answers["champion"]
    noisy = blurred(champion, later, its)
    for metric, names in its.edges.items():
        lacking = later.answers[names[1].removeprefix(f"{metric.name}, ")]
        for name, other in zip(names, (noisy, lacking), strict=True):
            yield name, losing(later.label, champion, other, metric, its)


def blurred(champion: np.ndarray, later: Later, its: Subject) -> np.ndarray:
    """Answers with noise of every row's own."""
    noise = np.random.default_rng(2).normal(0, 3, champion.shape)
    if its.task.bounds is None:
        return champion + noise * float(np.std(champion - later.label))
    return probabilities(logits(champion) + noise)


def losing(
    label: np.ndarray, champion: np.ndarray, other: np.ndarray, metric: Metric, its: Subject
) -> np.ndarray:
    """Answers that are worse than the champion's on these rows by the margin of `metric`, to 1e-9.

    They are on the line from the champion's answers (probabilities: logits) to `other`'s, which must be worse
    than the margin: the loss is nothing at its one end, more than the margin at its other, and continuous, so
    there is a point where it is the margin.
    """
    base = its.lost(metric, label, champion)
    margin = its.margin(metric, base)

    def at(weight: float) -> np.ndarray:
        if its.task.bounds is None:
            return (1 - weight) * champion + weight * other
        return probabilities((1 - weight) * logits(champion) + weight * logits(other))

    def beyond(weight: float) -> float:
        return its.lost(metric, label, at(weight)) - base - margin

    return at(brentq(beyond, 0, 1, xtol=1e-12, rtol=1e-12))


def logits(p: np.ndarray) -> np.ndarray:
    """Of one probability a row its logit; of one for each class their logarithms."""
    safe = np.clip(p, 1e-9, 1 - 1e-9)
    return np.log(safe / (1 - safe)) if p.ndim == 1 else np.log(safe)


def probabilities(x: np.ndarray) -> np.ndarray:
    """The inverse."""
    return 1 / (1 + np.exp(-x)) if x.ndim == 1 else softmax(x, axis=1)


def _fit(rows: pd.DataFrame, its: Subject, seed: int | None = None, **settings: Any) -> Pipeline:
    asked = its.params.train
    changed = {"settings": {**asked.settings, **settings}, "seed": asked.seed if seed is None else seed}
    params = its.params.model_copy(update={"train": asked.model_copy(update=changed)})
    return train.fit_pipeline(params, rows, its.problem)


def _answer(pipeline: Pipeline, rows: pd.DataFrame, its: Subject) -> np.ndarray:
    """By sklearn, from which the shipped ONNX model differs by less than train.PARITY."""
    with threadpoolctl.threadpool_limits(limits=1):
        return its.task.predicted(pipeline, train.frame(rows, its.contract))
