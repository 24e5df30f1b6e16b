"""What judge, report, service and drift check ask of a task: a kind of answer, and what follows from it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from pipelines.base.errors import UserError
from pipelines.core import stats

if TYPE_CHECKING:
    from pipelines.core.params import Params  # the service has no params.yaml

Rows = np.ndarray  # its first axis is the row
Sums = Any  # what a task's metrics need of each day: its own business
Curves = dict[str, dict[str, np.ndarray]]  # plot -> axis -> values
ROUNDED = 1e-6  # of a probability in float32


@dataclass(frozen=True)
class Figure:
    """What is measured, in one number."""

    key: str  # in files, params.yaml and the names of rules; a test looks for it: no everyday word
    name: str  # for people


@dataclass(frozen=True)
class Metric(Figure):
    """How good answers are. `of` takes the sums of a model's days and weights of the days,
    (D,) or (B, D), None for the days as they were; it gives a number or (B,), NaN where it does not exist,
    such as the AUC of one class."""

    better: Literal["higher", "lower"]
    of: Callable[[Sums, np.ndarray | None], Any]
    unit: str = ""  # after the name, where that does not say it

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.better == "higher" else -1


def mean(of: str) -> Callable[[Sums, np.ndarray | None], Any]:
    """`Metric.of` for the mean over rows of one of the sums that a task has of each day."""
    return lambda sums, weights: stats.mean(getattr(sums, of), sums.rows, weights)


class Costs(Protocol):
    """What mistakes cost, and what to do about an answer follows from: that part of params.yaml or, but for
    those costs that `threshold` stands for, of serving.json."""

    @property
    def threshold(self) -> float | None: ...

    @property
    def costs(self) -> Mapping[str, Mapping[str, float]] | None: ...


class Task(Protocol):
    """A kind of answer. Labels and answers are arrays whose first axis is the row; `day` is 0..days-1. What
    has a body here is so where an answer is a number."""

    name: str  # by which report/templates/words.md.j2 has its words
    outputs: tuple[str, ...]  # of the ONNX graph, in the order in which skl2onnx makes them; answers last
    options: Mapping[str, Any] = {}  # of skl2onnx
    shape: tuple[int, ...] = ()  # of an answer: () is a number
    bounds: tuple[float, float] | None = None  # of an answer's level, where it has some
    span: float = 1.0  # what differences of levels are shares of
    rate_name: str = "mean label"  # of `rate`, for people
    observed: str = "mean label"  # what answers that mean what they say are on average
    answer: str  # what an answer is called in the HTTP contract and the prediction log
    parts: tuple[str, ...]  # what the numbers of an answer are called in reports
    explained: str  # what that is called which `part` says
    metrics: tuple[Metric, ...]  # that the report shows, in its order
    compared: tuple[Metric, ...]  # judged beside champion and anchor, by gate.margin
    floors: tuple[Metric, ...]  # judged alone, by gate.floor
    loss: Metric  # the mean of `losses`
    ranking: Figure  # what `knows` measures
    skill: Metric  # against always giving the constant
    cost: Metric  # of a decision
    costs: tuple[str, ...]  # of mistakes, by which `cost` is counted: keys of params.yaml: decision
    defaults: Mapping[str, Mapping[str, float]] = {}  # section of params.yaml -> key that may be left out
    ideal: Mapping[str, float]  # of each figure of `calibration`
    first: Mapping[str, float]  # how far from it a first model may be
    curve: str  # the first of `plots`, by its name for people: two shares from 0 to 1, the diagonal is chance
    axes: Mapping[str, str]  # of it, in gate.json and in words

    @property
    def delta(self) -> str:
        """A difference of two answers, in sentences."""
        return f"Δ{self.answer}"

    @property
    def details(self) -> tuple[Metric, ...]:
        """Metrics of parts of an answer, which the report shows too."""
        return ()

    def suited(self, params: "Params", file: Path | str = "params.yaml") -> "Params":
        """`params` with the defaults of this kind of answer. UserError where they lack what it asks for, or
        have what another does."""
        asked = {
            "decision": (params.decision, self.costs),
            "gate.margin": (params.gate.margin, tuple(metric.key for metric in self.compared)),
            "gate.floor": (params.gate.floor, tuple(metric.key for metric in self.floors)),
            "drift": (params.drift, (self.skill.key,)),
        }
        for where, (said, keys) in asked.items():
            of_a_task = [name for name, field in type(said).model_fields.items() if field.default is None]
            known = {*keys, *self.defaults.get(where, ())}
            surplus = [key for key in of_a_task if key not in known and getattr(said, key) is not None]
            missing = [key for key in keys if getattr(said, key) is None]
            if surplus or missing:
                wrong = f"{surplus[0]} is of other answers" if surplus else f"{missing[0]} is missing"
                raise UserError(f"{file}: {where}.{wrong}: this label asks for {', '.join(keys)}")
        for metric in self.compared:
            said = getattr(params.gate.margin, metric.key)
            if isinstance(said, str) and metric.sign > 0:
                why = f"a share is one of a loss, and of the {metric.name} more is better: say a number"
                raise UserError(f"{file}: gate.margin.{metric.key} is {said}: {why}")
        for where, defaults in self.defaults.items():
            params = _filled(params, where.split("."), defaults)
        return params

    def labels(self, values: Any) -> np.ndarray:
        """A column of labels, none of them missing, as the metrics and, times 1, scikit-learn take them."""

    def lacks(self, label: np.ndarray) -> tuple[str, str] | None:
        """Where nothing can be learnt from these labels, nor judged: what all are, and what is needed."""

    def absent(self, label: np.ndarray) -> tuple[str, ...]:
        """What of all that a label can be none of these is: it cannot be learnt, and its figures do not
        exist."""
        return ()

    def predicted(self, pipeline: Any, frame: Any) -> np.ndarray:
        """The answers of a fitted scikit-learn pipeline."""

    def answers(self, output: np.ndarray) -> np.ndarray:
        """Those in the last of the ONNX graph's outputs: float64, (n, *shape)."""

    def read(self, said: Any) -> Any:
        """An answer that JSON holds, as a row of `answers`. TypeError, ValueError or OverflowError where it
        is none; `wrong` says what else it may not be."""
        if not isinstance(said, float | int):
            raise TypeError(f"{said!r:.80} is not a number")
        return float(said)

    def stacked(self, read: Iterable[Any]) -> np.ndarray:
        """What was read, as `answers` gives it."""
        return np.array(list(read), dtype=np.float64).reshape(-1, *self.shape)

    def wrong(self, answers: np.ndarray) -> tuple[np.ndarray, str]:
        """Which rows have no answer of this kind, and what it would have to be."""

    def difference(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """How far two answers to a row are apart, as |`delta`|; 1e-6 is rounding, whatever the unit."""

    def each(self, values: np.ndarray) -> np.ndarray:
        """Answers, or labels, as the numbers that `parts` names: (n, parts)."""
        return values[:, None]

    def level(self, values: np.ndarray) -> np.ndarray:
        """The last of them, where there is room for one only."""
        return self.each(values)[:, -1]

    def part(self, label: np.ndarray) -> np.ndarray:
        """Which of `parts` a row with this label is explained by, in place of all: (n,)."""
        return np.zeros(len(label), dtype=np.int64)

    def shifted(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """How far each answer is from that `before`, as a share of `span`: what a rollout compares with what
        the gate saw."""
        return (self.level(after) - self.level(before)) / self.span

    def losses(self, label: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Each row's loss."""

    def constant(self, label: np.ndarray) -> Any:
        """What one would say without a model, and what `restated` needs of it: as JSON says it."""

    def rate(self, constant: Any) -> float:
        """The mean level of the labels, from their constant: `label_rate` in files."""
        return float(constant)

    def rate_words(self, rate: float | None) -> str:
        """A `rate` for people."""
        return "–" if rate is None else f"{rate:.4g}"

    def constant_words(self, constant: Any) -> str:
        """The constant in words, for a sentence about `skill`."""

    def named(self, constant: Any) -> dict[str, float]:
        """Its parts by their names, where it has some that are shown beside the mean answer's."""
        return {}

    def sums(self, label: Rows, answers: Rows, day: Rows, days: int, constant: Any, costs: Any) -> Sums:
        """What the metrics need of each day. `costs` is params.yaml: decision."""

    def own_skill(self, sums: Sums, weights: np.ndarray | None = None) -> Any:
        """The skill against the constant of these very days, not of the training's."""

    def restated(self, skill: float, constant: Any, before: Any) -> float:
        """`own_skill` of days whose constant is `constant`, from their skill against another one, `before`;
        NaN where it does not exist."""

    def sides(self, label: np.ndarray) -> list[np.ndarray]:
        """What a single feature may tell of the labels: for each, what `knows` takes as labels."""
        return [label]

    def knows(self, label: np.ndarray, answers: np.ndarray) -> float:
        """How much the answers tell of the order of the labels: 0.5 is chance."""

    def knows_error(self, label: np.ndarray, answers: np.ndarray, day: np.ndarray, value: float) -> float:
        """The standard error of `knows`, were it `value` in truth, days being the unit. Here the labels are
        classes: the mean over them, each beside the rest."""
        ranks = np.unique(answers, return_inverse=True)[1]
        own = [stats.effective(ranks[label == name], day[label == name]) for name in np.unique(label)]
        return float(np.mean([stats.auc_error(value, rows, sum(own) - rows) for rows in own]))

    def telling(self, label: np.ndarray) -> int:
        """The rows that tell most: here the labels are classes, and those not of the commonest do."""
        return len(label) - int(np.unique(label, return_counts=True)[1].max(initial=0))

    def calibration(self, label: np.ndarray, answers: np.ndarray) -> dict[str, float]:
        """Figures that have an ideal. NaN where the fit does not exist."""

    def calibration_draws(
        self, label: np.ndarray, answers: np.ndarray, day: np.ndarray, weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The same in each resample of the days: (B,) each."""

    def confusion(self, label: np.ndarray, answers: np.ndarray, costs: Any) -> dict[str, dict[str, int]]:
        """How many rows of each label got each decision; empty where a decision is none of the labels."""
        return {}

    def charges(self, label: np.ndarray, answers: np.ndarray, costs: Any) -> np.ndarray:
        """What each row's decision costs: (n,), whose mean is `cost`."""

    def moved(self, before: np.ndarray, after: np.ndarray, costs: Any) -> np.ndarray:
        """How the decision on each row of answers differs from that on the answers `before`: (n,) texts, ""
        where it does not."""

    def answer_words(self, answers: np.ndarray) -> list[str]:
        """Answers for people."""

    def label_words(self, label: np.ndarray) -> list[str]:
        """Labels for people."""
        return self.answer_words(label)

    def half_width(self, label: Rows, answers: Rows, day: Rows, level: float) -> float | None:
        """How far from its answer the label of a row of another day is at most with a probability of `level`,
        by the answers of a model that has not seen these. None where they are of too few days."""
        return None

    def predictions(self, answers: np.ndarray, settings: Any) -> list[dict[str, Any]]:
        """As the HTTP contract says them, and what to do about them. `settings` is all of serving.json."""

    def schema(self, decision: Any, settings: Any) -> dict[str, Any]:
        """The JSON schema of one of them; the description of `answer` follows the word "the"."""

    def plots(self, label: np.ndarray, answers: np.ndarray) -> Curves:
        """The plots of dvc.yaml, `curve` first."""


class Probabilities(Task):
    """What is so where an answer is one probability, or several."""

    outputs: tuple[str, ...] = ("label", "probabilities")
    options: Mapping[str, Any] = {"zipmap": False}
    bounds: tuple[float, float] | None = (0.0, 1.0)
    observed, answer, curve = "observed share", "p", "ROC"

    def rate_words(self, rate: float | None) -> str:
        return "–" if rate is None else f"{rate:.1%}"

    def answers(self, output: np.ndarray) -> np.ndarray:
        p = np.asarray(output, dtype=np.float64)
        inside = np.clip(p, 0, 1)  # the mean of a forest's trees may be 1.0000004 in float32
        return np.where(np.abs(p - inside) <= ROUNDED, inside, p)


def _filled(model: Any, path: list[str], defaults: Mapping[str, float]) -> Any:
    """A copy with `defaults` in the part at `path`, where it says nothing else."""
    if path:
        return model.model_copy(update={path[0]: _filled(getattr(model, path[0]), path[1:], defaults)})
    return model.model_copy(update={k: v for k, v in defaults.items() if getattr(model, k) is None})
