"""drift.json: what a drift check found, month by month, and its verdict."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.artifacts.file import Artifact, Closed, Day, Number
from pipelines.core.params import Drift, Period

Verdict = Literal["STEADY", "INCONCLUSIVE", "RETRAIN", "FAULT"]
State = Literal["good", "bad", "fault", "unknown"]


class Fault(Closed):
    """A feature, and one sentence about what is wrong with it."""

    feature: str
    sentence: str


class Month(Closed):
    """One month of production. What cannot be known is None."""

    month: str
    state: State
    why: str = ""  # of an unknown month
    events: int = 0
    predictions: int = 0  # of these events
    rows: int = 0  # predictions with a label
    days: int = 0
    label_rate: Number = None
    mean_p: Number = None
    shares: dict[str, float] = Field(default_factory=dict)  # of the classes, where there are some
    said: dict[str, float] = Field(default_factory=dict)  # their mean probabilities
    skill: Number = Field(default=None, alias="brier_skill")
    interval: tuple[float, float] | None = None  # 95 %, by resampling
    drawn: str = "days"  # what is drawn for it
    below: Number = None  # the share of resamples that are below the floor
    psi: dict[str, float] = Field(default_factory=dict)
    moved: tuple[str, ...] = ()  # features above their threshold, the farthest first
    faults: tuple[Fault, ...] = ()
    releases: dict[str, int] = Field(default_factory=dict)


class Training(Closed):
    """What the champion was trained on, as its reference.json says."""

    first: Day
    last: Day
    label_rate: float
    shares: dict[str, float] = Field(default_factory=dict)
    thresholds: dict[str, float]
    skills: dict[str, float]  # by month, of models that had not seen it, against the month's own label rate


class Check(Artifact):
    """All of drift.json: the verdict, why, and all that it rests on."""

    NAME = "drift.json"
    WRITER = "`ml drift`"
    WAY_OUT = "run `ml drift`, which makes it"

    environment: str
    through: Period
    verdict: Verdict
    reasons: Annotated[tuple[str, ...], Field(min_length=1)]
    warnings: tuple[str, ...] = ()
    months: Annotated[tuple[Month, ...], Field(min_length=1)]
    reference: Training
    log: dict[str, int]  # how many lines of the prediction log were what
    params: Drift
