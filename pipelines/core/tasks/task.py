"""What judge, report, service and drift check ask of a task: a kind of answer, and what follows from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from pipelines.core.contract import Decision

if TYPE_CHECKING:
    from pipelines.core.params import Decision as Costs  # the service has no params.yaml

Rows = np.ndarray  # its first axis is the row
Sums = Any  # what a task's metrics need of each day: its own business
Curves = dict[str, dict[str, np.ndarray]]  # plot -> axis -> values


@dataclass(frozen=True)
class Metric:
    """How good answers are, in one number. `of` takes the sums of a model's days and weights of the days,
    (D,) or (B, D), None for the days as they were; it gives a number or (B,), NaN where it does not exist,
    such as the AUC of one class."""

    key: str  # in files, params.yaml and the names of rules
    name: str  # for people
    better: Literal["higher", "lower"]
    of: Callable[[Sums, np.ndarray | None], Any]

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.better == "higher" else -1


class Task(Protocol):
    """A kind of answer. Labels and answers are arrays whose first axis is the row; `day` is 0..days-1."""

    outputs: tuple[str, ...]  # of the ONNX graph, in the order in which skl2onnx makes them
    metrics: tuple[Metric, ...]  # that the report shows, in its order
    compared: tuple[Metric, ...]  # judged beside champion and anchor, by gate.margin
    floors: tuple[Metric, ...]  # judged alone, by gate.floor
    loss: Metric  # the mean of `losses`
    ranking: Metric  # what `knows` measures
    skill: Metric  # against always giving the constant
    cost: Metric  # of a decision
    ideal: Mapping[str, float]  # of each figure of `calibration`
    first: Mapping[str, float]  # how far from it a first model may be

    def labels(self, values: Any) -> np.ndarray:
        """A column of labels, none of them missing, as the metrics take them."""

    def lacks(self, label: np.ndarray) -> tuple[str, str] | None:
        """Where nothing can be learnt from these labels, nor judged: what all are, and what is needed."""

    def predicted(self, pipeline: Any, frame: Any) -> np.ndarray:
        """The answers of a fitted scikit-learn pipeline."""

    def wrong(self, answers: np.ndarray) -> tuple[np.ndarray, str]:
        """Which rows have no answer of this kind, and what it would have to be."""

    def difference(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """How far two answers to a row are apart."""

    def losses(self, label: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Each row's loss."""

    def constant(self, label: np.ndarray) -> float:
        """What one would say without a model."""

    def constant_words(self, constant: float) -> str:
        """That in words, for a sentence about `skill`."""

    def sums(self, label: Rows, answers: Rows, day: Rows, days: int, constant: float, costs: "Costs") -> Sums:
        """What the metrics need of each day."""

    def own_skill(self, sums: Sums, weights: np.ndarray | None = None) -> Any:
        """The skill against the constant of these very days, not of the training's."""

    def restated(self, skill: float, constant: float, before: float) -> float:
        """`own_skill` of days whose constant is `constant`, from their skill against another one, `before`;
        NaN where it does not exist."""

    def knows(self, label: np.ndarray, answers: np.ndarray) -> float:
        """How much the answers tell of the order of the labels: 0.5 is chance."""

    def calibration(self, label: np.ndarray, answers: np.ndarray) -> dict[str, float]:
        """Figures that have an ideal. NaN where the fit does not exist."""

    def calibration_draws(
        self, label: np.ndarray, answers: np.ndarray, day: np.ndarray, weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The same in each resample of the days: (B,) each."""

    def act(self, answers: np.ndarray, costs_threshold: float) -> np.ndarray:
        """On which rows to act."""

    def predictions(self, answers: np.ndarray, act: np.ndarray) -> list[dict[str, Any]]:
        """As the HTTP contract says them."""

    def schema(self, decision: Decision, threshold: float) -> dict[str, Any]:
        """The JSON schema of one of them."""

    def plots(self, label: np.ndarray, answers: np.ndarray) -> Curves:
        """The plots of dvc.yaml. Imports what draws them."""
