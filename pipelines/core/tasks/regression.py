"""A number: the label is a number, an answer is what it is expected to be, in the label's unit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.core import stats
from pipelines.core.contract import Column
from pipelines.core.tasks.task import Curves, Figure, Metric, Rows, Task, mean

if TYPE_CHECKING:
    from pipelines.core.params import Decision as Costs  # the service has no params.yaml

BINS = 20  # of the calibration plot
POINTS = 101  # of the gain curve
MOVED = 0.01  # of the label's range: a nearer answer is no other decision


@dataclass(frozen=True)
class Sums:
    """What the metrics need of each of D days: sums over its rows, each of shape (D,)."""

    rows: np.ndarray
    away: np.ndarray  # the label from the training's mean
    absolute: np.ndarray  # errors
    squared: np.ndarray  # errors
    constant: np.ndarray  # the same, squared: errors of always saying that mean
    cost: np.ndarray


MAE = Metric("mae", "mean absolute error", "lower", mean("absolute"))
RMSE = Metric("rmse", "root mean squared error", "lower", lambda sums, w: np.sqrt(mean("squared")(sums, w)))
# Against always saying the training's mean (Murphy 1988, eq. 4, with another reference).
SKILL = Metric("r2", "R²", "higher", lambda sums, w: 1 - stats.mean(sums.squared, sums.constant, w))
COST = Metric("expected_cost", "cost of an answer", "lower", mean("cost"))
RANKS = Figure("rank_agreement", "rank agreement ((1 + Spearman's ρ) / 2)")


class Regression(Task):
    """See `Task`. Differences of answers are shares of `span`, the label's range by columns.py."""

    name = "regression"
    outputs: tuple[str, ...] = ("variable",)
    answer, delta = "y", "Δy/range"
    floors: tuple[Metric, ...] = (SKILL,)
    ranking, skill, cost = RANKS, SKILL, COST
    costs: tuple[str, ...] = ("over", "under")
    defaults: Mapping[str, Mapping[str, float]] = {
        "decision": {"coverage": 0.9},
        "gate.margin": {"coverage": 0.05},
    }
    ideal: Mapping[str, float] = {"slope": 1.0, "bias": 0.0}
    first: Mapping[str, float] = {"slope": 0.5, "bias": 0.5}
    curve = "Gain"
    axes: Mapping[str, str] = {
        "rows": "share of the rows, highest answers first",
        "ranks": "share of the ranks",
    }

    def __init__(self, label: Column) -> None:
        assert label.minimum is not None and label.maximum is not None  # Contract holds it
        self.label, self.span, self.unit = label, label.maximum - label.minimum, label.unit
        unit = f" ({self.unit})" if self.unit else ""
        self.rate_name, self.explained, self.parts = f"mean label{unit}", f"y{unit}", (f"y{unit}",)
        self.compared = tuple(replace(metric, name=f"{metric.name}{unit}") for metric in (MAE, RMSE))
        self.metrics, self.loss = (*self.compared, SKILL, COST), self.compared[0]

    def __reduce__(self) -> tuple[type, tuple[Column]]:
        return Regression, (self.label,)  # what a metric is of cannot be sent to a process

    def labels(self, values: Any) -> np.ndarray:
        return np.asarray(values.to_numpy(dtype=np.float64))

    def lacks(self, label: np.ndarray) -> tuple[str, str] | None:
        return None if label.min() < label.max() else (f"{label[0]:g}", "two values")

    def predicted(self, pipeline: Any, frame: Any) -> np.ndarray:
        return np.asarray(pipeline.predict(frame), dtype=np.float64).reshape(-1)

    def answers(self, output: np.ndarray) -> np.ndarray:
        return np.asarray(output, dtype=np.float64).reshape(-1)

    def wrong(self, answers: np.ndarray) -> tuple[np.ndarray, str]:
        return ~np.isfinite(answers), "number (NaN or infinite)"

    def difference(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.abs(one - other) / self.span

    def losses(self, label: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.abs(label - answers)

    def constant(self, label: np.ndarray) -> tuple[float, float]:
        """The mean and the variance."""
        return float(label.mean()), float(label.var())

    def rate(self, constant: tuple[float, float]) -> float:
        return float(constant[0])

    def constant_words(self, constant: tuple[float, float]) -> str:
        return f"always saying the training's {constant[0]:.4g} {self.unit}".rstrip()

    def sums(self, label: Rows, answers: Rows, day: Rows, days: int, constant: Any, costs: "Costs") -> Sums:
        errors, away, cost = answers - label, label - constant[0], self.charges(label, answers, costs)
        of_rows = (np.ones(len(label)), away, np.abs(errors), errors**2, away**2, cost)
        return Sums(*(np.bincount(day, weights=values, minlength=days) for values in of_rows))

    def own_skill(self, sums: Sums, weights: np.ndarray | None = None) -> Any:
        """1 - MSE / variance of these days."""
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = mean("constant")(sums, weights) - mean("away")(sums, weights) ** 2
            return 1 - mean("squared")(sums, weights) / spread

    def restated(self, skill: float, constant: tuple[float, float], before: tuple[float, float]) -> float:
        spread, apart = constant[1], constant[0] - before[0]
        return 1 - (1 - skill) * (spread + apart**2) / spread if spread > 0 else float("nan")

    def knows(self, label: np.ndarray, answers: np.ndarray) -> float:
        """(1 + ρ) / 2, where ρ is the rank correlation (Spearman 1904)."""
        one, other = (_standard(stats.ranks(values)) for values in (label, answers))
        return float((1 + np.mean(one * other)) / 2)

    def knows_error(self, label: np.ndarray, answers: np.ndarray, day: np.ndarray, value: float) -> float:
        """By Fisher's z of a rank correlation (Bonett & Wright 2000)."""
        one, other = (_standard(stats.ranks(values)) for values in (label, answers))
        tells = one * other - np.mean(one * other) * (one**2 + other**2) / 2  # each row's, of the correlation
        rows, rho = stats.effective(tells, day), 2 * value - 1
        return float((1 - rho**2) / 2 * np.sqrt((1 + rho**2 / 2) / max(rows - 3, 0.1)))

    def telling(self, label: np.ndarray) -> int:
        return len(label)

    def calibration(self, label: np.ndarray, answers: np.ndarray) -> dict[str, float]:
        """The slope of the least squares of label on answer; the mean error, in standard deviations of the
        label."""
        draws = self.calibration_draws(label, answers, np.zeros(len(label), np.int64), np.ones((1, 1)))
        return {name: float(value[0]) for name, value in draws.items()}

    def calibration_draws(
        self, label: np.ndarray, answers: np.ndarray, day: np.ndarray, weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        middle = label.mean()  # else a large one would be all that the squares have
        label, answers = label - middle, answers - middle
        products = (np.ones(len(label)), answers, label, answers**2, answers * label, label**2)
        rows, x, y, xx, xy, yy = (
            weights @ np.bincount(day, weights=values, minlength=weights.shape[1]) for values in products
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = (rows * xy - x * y) / (rows * xx - x**2)
            return {"slope": slope, "bias": (x - y) / np.sqrt(rows * yy - y**2)}

    def charges(self, label: np.ndarray, answers: np.ndarray, costs: "Costs") -> np.ndarray:
        assert costs.over is not None and costs.under is not None  # Task.suited
        errors = answers - label
        return np.where(errors > 0, costs.over * errors, -costs.under * errors)

    def moved(self, before: np.ndarray, after: np.ndarray, costs: "Costs") -> np.ndarray:
        by = f"by over {MOVED * self.span:.3g} {self.unit}".rstrip()
        far = self.difference(before, after) > MOVED
        return np.where(far, np.where(after > before, f"higher {by}", f"lower {by}"), "")

    def answer_words(self, answers: np.ndarray) -> list[str]:
        return [f"{value:.4g}" for value in answers]

    def half_width(self, label: Rows, answers: Rows, day: Rows, level: float) -> float | None:
        """Split conformal prediction (Vovk, Gammerman & Shafer 2005; Lei et al. 2018) where days, not rows,
        are exchangeable (Lee, Barber & Willett 2023): each of K days weighs 1 / (K + 1), which its rows
        share, and so does a new one, of which nothing is known."""
        errors = np.abs(label - answers)
        _, of, rows = np.unique(day, return_inverse=True, return_counts=True)
        order = np.argsort(errors)
        reached = np.cumsum(1 / (rows[of][order] * (len(rows) + 1)))
        place = int(np.searchsorted(reached, level - 1e-9))
        return float(errors[order][place]) if place < len(errors) else None

    def predictions(self, answers: np.ndarray, settings: Any) -> list[dict[str, Any]]:
        if settings.interval is None:
            return [{"y": y, "low": None, "high": None} for y in answers.tolist()]
        half = settings.interval.half_width
        return [{"y": y, "low": y - half, "high": y + half} for y in answers.tolist()]

    def schema(self, decision: Any, settings: Any) -> dict[str, Any]:
        quantity = decision.quantity.removeprefix("the ")
        words = f"{quantity}, in {self.unit}" if self.unit else quantity
        end = {"type": "number", "nullable": True, "description": "the training has too few days to tell"}
        if told := settings.interval:
            words_of_end = f"end of the interval that holds it in {100 * told.level:g} % of all cases"
            end = {"type": "number", "description": words_of_end}
        return {
            "type": "object",
            "properties": {"y": {"type": "number", "description": words}, "low": end, "high": end},
            "required": ["y", "low", "high"],
        }

    def plots(self, label: np.ndarray, answers: np.ndarray) -> Curves:
        """`gain`: of the labels' ranks the share that the rows with the highest answers have."""
        order, rank = np.argsort(-answers, kind="stable"), stats.ranks(label)
        ends = np.unique(np.linspace(0, len(order), POINTS).astype(int))
        shares = np.append(0.0, np.cumsum(rank[order]) / rank.sum())
        parts = [part for part in np.array_split(order[::-1], BINS) if len(part)]
        return {
            "gain": {"rows": ends / len(order), "ranks": shares[ends]},
            "calibration": {
                "predicted": np.array([float(answers[part].mean()) for part in parts]),
                "observed": np.array([float(label[part].mean()) for part in parts]),
            },
        }


def _standard(values: np.ndarray) -> np.ndarray:
    """With mean 0 and standard deviation 1; all 0 where they are all the same."""
    return (values - values.mean()) / (values.std() or 1.0)
