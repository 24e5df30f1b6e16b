"""What the rules need: the models scored on the test window, against labels that the base's code reads."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from pipelines.artifacts.serving import Interval
from pipelines.core import stats
from pipelines.core.contract import Contract, Finding
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Sums, Task
from pipelines.judge.champion import Champion
from pipelines.judge.changes import Changes
from pipelines.judge.proposal import Proposal
from pipelines.judge.rows import Window

SEED = 1  # of the bootstrap: the same days are drawn in each run, so a second run brings no second chance
SAME = 1e-9  # the largest difference up to which two models are one
ROUNDING = 1e-6  # the largest of one model's answers, trained on two kinds of processors
NEAR = 1e-3  # the mean one that another kind of processor may bring about where it splits a tree elsewhere


@dataclass(frozen=True)
class Scored:
    """A model's answers on the test window and what the metrics need of them."""

    p: np.ndarray  # (n,)
    sums: Sums
    constant: Any  # the task's, of its training days
    features: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)  # (n) what it was asked with
    place: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int), repr=False)  # (n) in its rows


@dataclass(frozen=True)
class Again:
    """How the candidate differs from the model that the judge trains from the proposal's params.yaml."""

    largest: float  # difference on the test window
    mean: float
    alike: bool  # the same graph with the same numbers
    repeats: bool = True  # the training gives the same model each time
    beside: str | None = None  # the first file beside the model that is not what it and the rows give
    interval: Interval | None = None  # around an answer

    @property
    def same(self) -> bool:
        return self.alike and self.largest <= ROUNDING


@dataclass(frozen=True)
class Evidence:
    """All that a rule may look at. What could not be had is None, and a finding of `gathered` says why."""

    params: Params  # the base's: thresholds are never the proposal's
    problem: Problem  # the base's too
    gathered: tuple[Finding, ...] = ()
    proposal: Proposal | None = None
    champion_model: Champion | None = None
    anchor_model: Champion | None = None  # where it is another than the champion
    window: Window | None = None
    candidate: Scored | None = None
    champion: Scored | None = None
    anchor: Scored | None = None
    repeated: float | None = None  # the largest difference of candidate and itself, trained by the build
    retrained: Again | None = None  # the same by the judge, wherever the base's code trains
    shuffled: float | None = None  # what one of shuffled outcomes knows, by whoever trained again
    dealt: np.ndarray | None = None  # the outcomes of the test window that it was asked about
    changes: Changes = field(default_factory=Changes)  # of the code that makes a candidate
    latency: tuple[float, float] | None = None  # seconds a row, the median: candidate, champion
    level: float = 0.90  # of the intervals
    same_lock: bool = False  # dvc.lock names the base branch's model: what is merged changes no model

    @property
    def contract(self) -> Contract:
        return self.problem.contract

    @property
    def task(self) -> Task:
        return self.problem.task

    @property
    def scored(self) -> dict[str, Scored]:
        """What gate.json shows of the two models that are compared, as far as they were scored."""
        both = {"candidate": self.candidate, "champion": self.champion}
        return {name: scored for name, scored in both.items() if scored is not None}

    @cached_property
    def weights(self) -> np.ndarray:
        """(B, D) how often each of the test window's units is drawn, the same for all models and every
        metric."""
        assert self.window is not None
        return self.window.units.weights(self.params.gate.resamples, SEED)

    def interval(self, draws: np.ndarray) -> tuple[float, float]:
        return stats.interval(draws, self.level)

    @property
    def unchanged(self) -> bool:
        """The proposal's model is the champion's, byte for byte, and what is merged makes no other."""
        if self.same_lock or self.proposal is None or self.champion_model is None:
            return self.same_lock
        if self.proposal.sha256 != self.champion_model.sha256 or (self.largest_difference or 0.0) > SAME:
            return False
        if self.proposal.params.decision != self.params.decision:  # the same answers, and other decisions
            return False
        if self.retrained is None:
            return made_of(self.proposal.params) == made_of(self.params)
        return self.retrained.same and self.retrained.beside is None

    @property
    def same_level(self) -> bool:
        """The interval around an answer is to hold as many labels as the base's."""
        level = self.params.decision.coverage
        return self.proposal is not None and self.proposal.params.decision.coverage == level

    @property
    def shipped(self) -> Interval | None:
        """What ships around the candidate's answers: the judge's own, wherever the base's code makes it."""
        if self.retrained is not None and not self.changes.figures:
            return self.retrained.interval
        return self.proposal.interval if self.proposal else None

    @property
    def equal(self) -> bool:
        """The candidate answers the test window as the champion does."""
        return self.largest_difference is not None and self.largest_difference <= SAME

    @cached_property
    def largest_difference(self) -> float | None:
        """Between the two models' answers on the test window."""
        if self.candidate is None or self.champion is None:
            return None
        return float(self.task.difference(self.candidate.p, self.champion.p).max())


def made_of(params: Params) -> str:
    """What of params.yaml makes a model and what ships beside it, as text: 1, 1.0 and true are equal, and
    not to an estimator."""
    made = [params.data.model_dump(), params.train.model_dump(), params.decision.model_dump()]
    return json.dumps([*made, params.gate.unit], sort_keys=True)
