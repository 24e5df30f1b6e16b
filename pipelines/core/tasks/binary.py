"""Yes or no: the label is a flag, an answer is the probability that it is true."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.core import stats
from pipelines.core.contract import Decision
from pipelines.core.tasks.task import Curves, Metric, Probabilities, Rows, mean

if TYPE_CHECKING:
    from pipelines.core.params import Decision as Costs  # the service has no params.yaml

BINS = 20  # of the calibration plot


@dataclass(frozen=True)
class Sums(stats.DaySums):
    """What the metrics need of each of D days, the training's label rate, and the sums of the costs."""

    rate: float
    cost: np.ndarray  # (D,)


ROC_AUC = Metric("roc_auc", "ROC-AUC", "higher", stats.roc_auc)
LOG_LOSS = Metric("log_loss", "log-loss", "lower", mean("log_loss"), " in nats")
BRIER = Metric("brier", "Brier score", "lower", mean("brier"))
SKILL = Metric("brier_skill", "Brier skill", "higher", lambda s, w: stats.brier_skill(s, s.rate, w))
COST = Metric("expected_cost", "cost of a decision", "lower", mean("cost"))


class Binary(Probabilities):
    """See `Task`."""

    name = "binary"
    rate_name, parts, explained = "label rate", ("p",), "p"
    metrics: tuple[Metric, ...] = (ROC_AUC, LOG_LOSS, BRIER, SKILL, COST)
    compared: tuple[Metric, ...] = (ROC_AUC, LOG_LOSS)
    floors: tuple[Metric, ...] = (ROC_AUC, SKILL)
    loss, ranking, skill, cost = LOG_LOSS, ROC_AUC, SKILL, COST
    costs: tuple[str, ...] = ("false_alarm", "miss")
    ideal: Mapping[str, float] = {"slope": 1.0, "intercept": 0.0}
    first: Mapping[str, float] = {"slope": 0.5, "intercept": 1.0}
    axes: Mapping[str, str] = {"false_alarms": "share of false alarms", "found": "share found"}

    def labels(self, values: Any) -> np.ndarray:
        return np.asarray(values.to_numpy(dtype=bool))

    def lacks(self, label: np.ndarray) -> tuple[str, str] | None:
        if label.any() and not label.all():
            return None
        return str(bool(label.all())).lower(), "both true and false"

    def predicted(self, pipeline: Any, frame: Any) -> np.ndarray:
        return np.asarray(pipeline.predict_proba(frame)[:, 1])

    def answers(self, output: np.ndarray) -> np.ndarray:
        return super().answers(output[:, 1])

    def wrong(self, answers: np.ndarray) -> tuple[np.ndarray, str]:
        return ~((answers >= 0) & (answers <= 1)), "probability (NaN, infinite, below 0 or above 1)"

    def difference(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.abs(one - other)

    def losses(self, label: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return stats.log_losses(label, answers)

    def constant(self, label: np.ndarray) -> float:
        return float(label.mean())

    def constant_words(self, constant: float) -> str:
        return f"always saying the training's {constant:.1%}"

    def sums(self, label: Rows, answers: Rows, day: Rows, days: int, constant: float, costs: "Costs") -> Sums:
        cost = np.bincount(day, weights=self.charges(label, answers, costs), minlength=days)
        return Sums(**vars(stats.day_sums(label, answers, day, days)), rate=constant, cost=cost)

    def own_skill(self, sums: Sums, weights: np.ndarray | None = None) -> Any:
        """1 - Brier / (rate (1 - rate)), which is (resolution - reliability) / uncertainty (Murphy 1973)."""
        rate = mean("positives")(sums, weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            return 1 - mean("brier")(sums, weights) / (rate * (1 - rate))

    def restated(self, skill: float, constant: float, before: float) -> float:
        spread = constant * (1 - constant)
        return 1 - (1 - skill) * (spread + (constant - before) ** 2) / spread if spread > 0 else float("nan")

    def knows(self, label: np.ndarray, answers: np.ndarray) -> float:
        return stats.area(label, answers)

    def calibration(self, label: np.ndarray, answers: np.ndarray) -> dict[str, float]:
        intercept, slope = stats.calibration(label, answers)
        return {"slope": slope, "intercept": intercept}

    def calibration_draws(
        self, label: np.ndarray, answers: np.ndarray, day: np.ndarray, weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        draws = stats.calibration_draws(label, answers, day, weights)
        return {"slope": draws[:, 1], "intercept": draws[:, 0]}

    def charges(self, label: np.ndarray, answers: np.ndarray, costs: "Costs") -> np.ndarray:
        assert costs.threshold is not None and costs.false_alarm and costs.miss  # Task.suited
        act = answers >= costs.threshold
        return np.where(act & ~label, costs.false_alarm, np.where(~act & label, costs.miss, 0.0))

    def moved(self, before: np.ndarray, after: np.ndarray, costs: "Costs") -> np.ndarray:
        old, new = (answers >= costs.threshold for answers in (before, after))
        return np.where(old == new, "", np.where(new, "acts now", "acts no more"))

    def label_words(self, label: np.ndarray) -> list[str]:
        return np.where(label, "yes", "no").tolist()

    def answer_words(self, answers: np.ndarray) -> list[str]:
        return [f"{p:.3f}" for p in answers]

    def predictions(self, answers: np.ndarray, settings: Any) -> list[dict[str, Any]]:
        threshold = settings.threshold
        return [{"p": p, "act": p >= threshold} for p in answers.tolist()]

    def schema(self, decision: Decision, settings: Any) -> dict[str, Any]:
        act = f"{decision.act}: p is at least {settings.threshold:g}"
        return {
            "type": "object",
            "properties": {
                "p": {"type": "number", "description": f"probability that {decision.positive}"},
                "act": {"type": "boolean", "description": act},
            },
            "required": ["p", "act"],
        }

    def plots(self, label: np.ndarray, answers: np.ndarray) -> Curves:
        """As roc_curve and precision_recall_curve of sklearn, whose import takes longer than the stage."""
        order = np.argsort(answers, kind="stable")[::-1]
        last = np.flatnonzero(np.diff(answers[order], append=np.nan))  # of those with the same answer
        true = np.cumsum(label[order])[last].astype(np.float64)
        false = last + 1 - true
        bends = np.flatnonzero((np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)) + 1
        ends = np.unique(np.concatenate([[0], bends, [len(last) - 1]]))
        fpr, tpr = (np.append(0.0, counts[ends]) / counts[-1] for counts in (false, true))
        precision = np.append((true / (last + 1))[::-1], 1.0)
        recall = np.append((true / true[-1])[::-1], 0.0)
        parts = [part for part in np.array_split(np.argsort(answers, kind="stable"), BINS) if len(part)]
        return {
            "roc": {"false_positive_rate": fpr, "true_positive_rate": tpr},
            "precision_recall": {"recall": recall, "precision": precision},
            "calibration": {
                "predicted": np.array([float(answers[part].mean()) for part in parts]),
                "observed": np.array([float(label[part].mean()) for part in parts]),
            },
        }


BINARY = Binary()
