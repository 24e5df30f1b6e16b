"""One of several classes: the label is a category, an answer is the probability of each of its values."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.base.errors import UserError
from pipelines.core import stats
from pipelines.core.contract import Choice, Column
from pipelines.core.tasks.task import Costs, Curves, Figure, Metric, Probabilities, Rows, mean

if TYPE_CHECKING:
    from pipelines.core.params import Params  # the service has no params.yaml

FIGURES = {"slope": (1.0, 0.5), "intercept": (0.0, 1.0)}  # of each class against the rest: `ideal`, `first`
BINS = 20  # of the calibration plot, a class
POINTS = 101  # of the ROC curve
WHOLE = 1e-4  # of the sum of a row's: else a model that gives 1 to each class would have no loss


@dataclass(frozen=True)
class Sums:
    """What the metrics need of each of D days: each class against the rest, and sums over rows, (D,) each."""

    classes: tuple[stats.DaySums, ...]
    rows: np.ndarray
    log_loss: np.ndarray
    brier: np.ndarray  # over the classes, too
    constant: np.ndarray  # the same of always saying the training's shares
    cost: np.ndarray


def _macro_auc(sums: Sums, weights: np.ndarray | None) -> Any:
    """The mean of each class's area against the rest (Provost & Domingos 2000, unweighted); NaN where the
    days lack one of them."""
    return np.mean([stats.roc_auc(one, weights) for one in sums.classes], axis=0)


def _area(n: int) -> Callable[[Sums, np.ndarray | None], Any]:
    return lambda sums, weights: stats.roc_auc(sums.classes[n], weights)


ROC_AUC = Metric("roc_auc", "macro ROC-AUC", "higher", _macro_auc)
LOG_LOSS = Metric("log_loss", "log-loss", "lower", mean("log_loss"), " in nats")
# Brier's own of 1950: of two classes twice what one probability's is.
BRIER = Metric("brier", "Brier score of all classes", "lower", mean("brier"))
# Against always saying the training's shares (Murphy 1973).
SKILL = Metric("brier_skill", "Brier skill", "higher", lambda s, w: 1 - stats.mean(s.brier, s.constant, w))
KNOWS = Figure("roc_auc", "one-vs-rest ROC-AUC")  # of one class, or the mean of all
COST = Metric("expected_cost", "cost of a decision", "lower", mean("cost"))


class Multiclass(Probabilities):
    """See `Task`. A label is its class's place in `classes`, an answer has a probability for each; a row is
    explained by that of what came true."""

    name, explained = "multiclass", "p of what came true"
    metrics: tuple[Metric, ...] = (ROC_AUC, LOG_LOSS, BRIER, SKILL, COST)
    compared: tuple[Metric, ...] = (ROC_AUC, LOG_LOSS)
    floors: tuple[Metric, ...] = (ROC_AUC, SKILL)
    loss, ranking, skill, cost = LOG_LOSS, KNOWS, SKILL, COST
    costs: tuple[str, ...] = ("costs",)
    axes: Mapping[str, str] = {
        "false_alarms": "share of false alarms",
        "found": "share found, the mean of the classes",
    }

    def __init__(self, label: Column) -> None:
        self.label, self.classes = label.name, label.values
        self.shape, self.rate_name = (len(self.classes),), f"share of {self.classes[-1]}"
        self.parts = tuple(f"p({name})" for name in self.classes)
        figures = {f"{figure} ({n})": ends for n in self.classes for figure, ends in FIGURES.items()}
        self.ideal, self.first = ({n: ends[k] for n, ends in figures.items()} for k in (0, 1))

    @property
    def details(self) -> tuple[Metric, ...]:
        return tuple(
            Metric(f"roc_auc_{name}", f"ROC-AUC ({name})", "higher", _area(n))
            for n, name in enumerate(self.classes)
        )

    def suited(self, params: "Params", file: Path | str = "params.yaml") -> "Params":
        params, where = super().suited(params, file), f"{file}: decision.costs"
        costs = params.decision.costs or {}
        for true in self.classes:
            said, others = costs.get(true, {}), [name for name in self.classes if name != true]
            if missing := [name for name in others if name not in said]:
                raise UserError(
                    f"{where}.{true} does not say what saying {missing[0]!r} costs: write it there"
                )
            if surplus := [name for name in said if name not in others]:
                why = "costs nothing, and is left out" if surplus[0] == true else "is no class of the label"
                raise UserError(f"{where}.{true}: {surplus[0]!r} {why}: delete it")
        if surplus := [name for name in costs if name not in self.classes]:
            raise UserError(f"{where}: {surplus[0]!r} is no class ({', '.join(self.classes)}): delete it")
        return params

    def labels(self, values: Any) -> np.ndarray:
        places = values.map({name: place for place, name in enumerate(self.classes)})
        if (unknown := places.isna().to_numpy()).any():
            odd = values.iloc[int(unknown.argmax())]
            wrong = f"columns.py: {self.label}: {odd!r:.80} is in the data and not among its values"
            raise UserError(f"{wrong}: add it to them, or let source.py leave it missing")
        return np.asarray(places.to_numpy(dtype=np.int64))

    def lacks(self, label: np.ndarray) -> tuple[str, str] | None:
        if len(found := np.unique(label)) > 1:
            return None
        return self.classes[int(found[0])], "two classes"

    def absent(self, label: np.ndarray) -> tuple[str, ...]:
        return tuple(name for place, name in enumerate(self.classes) if not (label == place).any())

    def predicted(self, pipeline: Any, frame: Any) -> np.ndarray:
        p = np.zeros((len(frame), *self.shape))
        p[:, pipeline.classes_] = pipeline.predict_proba(frame)  # few months may lack a class
        return p

    def read(self, said: Any) -> tuple[float, ...]:
        if not isinstance(said, dict) or said.keys() != set(self.classes):
            raise TypeError(f"{said!r:.80} is not a probability for each of {', '.join(self.classes)}")
        return tuple(super(Multiclass, self).read(said[name]) for name in self.classes)

    def wrong(self, answers: np.ndarray) -> tuple[np.ndarray, str]:
        inside = ((answers >= 0) & (answers <= 1)).all(axis=1)
        whole = np.abs(answers.sum(axis=1) - 1) <= WHOLE
        return ~(inside & whole), "probability for each class (NaN, below 0, above 1, or not 1 in all)"

    def difference(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(one - other).max(axis=1))

    def each(self, values: np.ndarray) -> np.ndarray:
        return values if values.ndim == 2 else values[:, None] == np.arange(len(self.classes))

    def part(self, label: np.ndarray) -> np.ndarray:
        return label

    def shifted(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The total variation distance, to which each class adds."""
        return np.asarray(np.abs(after - before).sum(axis=1) / 2)

    def losses(self, label: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return stats.log_losses(np.ones(len(label), dtype=bool), answers[np.arange(len(label)), label])

    def constant(self, label: np.ndarray) -> tuple[float, ...]:
        """The share of each class."""
        return tuple((np.bincount(label, minlength=len(self.classes)) / len(label)).tolist())

    def rate(self, constant: tuple[float, ...]) -> float:
        return constant[-1]

    def constant_words(self, constant: tuple[float, ...]) -> str:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.named(constant).items())
        return f"always saying the training's shares, {shares}"

    def named(self, constant: tuple[float, ...]) -> dict[str, float]:
        return dict(zip(self.classes, constant, strict=True))

    def sums(self, label: Rows, answers: Rows, day: Rows, days: int, constant: Any, costs: Costs) -> Sums:
        each = [stats.day_sums(label == n, p, day, days) for n, p in enumerate(answers.T)]
        # Of a row of the class c: sum over j of (q_j - [j = c])², where q are the training's shares.
        always = ((q := np.asarray(constant)) @ q + 1 - 2 * q)[label]
        of_rows = (self.losses(label, answers), always, self.charges(label, answers, costs))
        loss, constant, cost = (np.bincount(day, weights=values, minlength=days) for values in of_rows)
        brier = np.sum([one.brier for one in each], axis=0)
        return Sums(tuple(each), each[0].rows, loss, brier, constant, cost)

    def charges(self, label: np.ndarray, answers: np.ndarray, costs: Costs) -> np.ndarray:
        return np.asarray(self._matrix(costs)[label, self.decided(answers, costs)])

    def confusion(self, label: np.ndarray, answers: np.ndarray, costs: Costs) -> dict[str, dict[str, int]]:
        said = self.label_words(self.decided(answers, costs))
        rows = Counter(zip(self.label_words(label), said, strict=True))
        return {came: {said: rows[came, said] for said in self.classes} for came in self.classes}

    def moved(self, before: np.ndarray, after: np.ndarray, costs: Costs) -> np.ndarray:
        was, now = (self.label_words(self.decided(answers, costs)) for answers in (before, after))
        both = zip(was, now, strict=True)
        return np.array([f"says {new}, not {old}" if old != new else "" for old, new in both])

    def answer_words(self, answers: np.ndarray) -> list[str]:
        return [" / ".join(f"{p:.2f}" for p in row) for row in answers]

    def label_words(self, label: np.ndarray) -> list[str]:
        return [self.classes[place] for place in label]

    def decided(self, answers: np.ndarray, costs: Costs) -> np.ndarray:
        """The class with the least expected cost (Elkan 2001, eq. 1), the first of several: (n,)."""
        return np.asarray((answers @ self._matrix(costs)).argmin(axis=1))

    def _matrix(self, costs: Costs) -> np.ndarray:
        """What it costs to say (column) where another is true (row)."""
        assert costs.costs is not None  # Task.suited
        rows = (costs.costs[true] for true in self.classes)
        return np.array([[row.get(said, 0.0) for said in self.classes] for row in rows])

    def own_skill(self, sums: Sums, weights: np.ndarray | None = None) -> Any:
        """1 - Brier / (1 - sum of the squared shares of these days)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.array([stats.mean(one.positives, sums.rows, weights) for one in sums.classes])
            return 1 - stats.mean(sums.brier, sums.rows, weights) / (1 - (shares**2).sum(axis=0))

    def restated(self, skill: float, constant: Any, before: Any) -> float:
        shares = np.asarray(constant)
        spread, apart = 1 - shares @ shares, shares - np.asarray(before)
        return float(1 - (1 - skill) * (spread + apart @ apart) / spread) if spread > 0 else float("nan")

    def sides(self, label: np.ndarray) -> list[np.ndarray]:
        return [label == place for place in np.unique(label)]

    def knows(self, label: np.ndarray, answers: np.ndarray) -> float:
        """The macro area over the classes that are there; of one of `sides` its own."""
        if answers.ndim == 1:
            return stats.area(label, answers)
        return float(np.mean([stats.area(label == place, answers[:, place]) for place in np.unique(label)]))

    def calibration(self, label: np.ndarray, answers: np.ndarray) -> dict[str, float]:
        fits = [stats.calibration(label == place, p)[::-1] for place, p in enumerate(answers.T)]
        return dict(zip(self.ideal, (value for fit in fits for value in fit), strict=True))

    def calibration_draws(
        self, label: np.ndarray, answers: np.ndarray, day: np.ndarray, weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        fits = [stats.calibration_draws(label == n, p, day, weights).T[::-1] for n, p in enumerate(answers.T)]
        return dict(zip(self.ideal, (drawn for fit in fits for drawn in fit), strict=True))

    def predictions(self, answers: np.ndarray, settings: Any) -> list[dict[str, Any]]:
        said = self.decided(answers, settings).tolist()
        return [
            {"p": self.named(p), "class": self.classes[place]}
            for p, place in zip(answers.tolist(), said, strict=True)
        ]

    def schema(self, decision: Choice, settings: Any) -> dict[str, Any]:
        share = {"type": "number", "minimum": 0, "maximum": 1}
        acts = "; ".join(f"{name}: {act}" for name, act in decision.acts.items())
        return {
            "type": "object",
            "properties": {
                "p": {
                    "type": "object",
                    "description": f"probability of each class of {decision.subject}",
                    "properties": dict.fromkeys(self.classes, share),
                    "required": list(self.classes),
                },
                "class": {
                    "type": "string",
                    "description": f"the one with the least expected cost ({acts})",
                    "enum": list(self.classes),
                },
            },
            "required": ["p", "class"],
        }

    def plots(self, label: np.ndarray, answers: np.ndarray) -> Curves:
        """`roc`: the mean of the classes' curves; `calibration`: each class against the rest."""
        places, curves, lines = np.linspace(0, 1, POINTS), [], []
        for place in np.unique(label):
            p, true = answers[:, place], label == place
            order = np.argsort(p, kind="stable")[::-1]
            last = np.flatnonzero(np.diff(p[order], append=np.nan))  # of those with the same answer
            found = np.append(0, np.cumsum(true[order])[last])
            alarms = np.append(0, last + 1) - found
            curves.append(np.interp(places, alarms / alarms[-1], found / found[-1]))
            parts = [part for part in np.array_split(order[::-1], BINS) if len(part)]
            lines += [(self.classes[place], p[part].mean(), true[part].mean()) for part in parts]
        names, predicted, observed = zip(*lines, strict=True)
        return {
            "roc": {"false_positive_rate": places, "true_positive_rate": np.mean(curves, axis=0)},
            "calibration": {
                "class": np.array(names),
                "predicted": np.array(predicted),
                "observed": np.array(observed),
            },
        }
