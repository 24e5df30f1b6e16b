"""evidence/gate.json: what the gate decided of one head against one base, and all that its report says. Its
texts may come from a proposal: they are data, and escaped where they are shown."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import Field, model_validator

from pipelines.artifacts.file import Artifact, Closed, Commit, Digest, Number, Text
from pipelines.base.errors import UserError
from pipelines.core.contract import Finding as Said
from pipelines.core.contract import Verdict as Word
from pipelines.core.params import Gate
from pipelines.core.tasks.task import Task

SEVERITY: dict[Word, int] = {"PASS": 0, "INCONCLUSIVE": 3, "FAIL": 4}  # which are the exit codes of `ml gate`

Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]
Value = Annotated[list[Number], Field(min_length=3, max_length=3)]  # the point and its interval
Model = Literal["candidate", "champion"]
Confusion = dict[Text, dict[Text, int]]  # what came true -> what was decided -> rows


class Finding(Closed):
    """What one rule says; `warning` marks a PASS that a reviewer should look at."""

    rule: Text
    verdict: Word
    sentence: Text
    numbers: dict[Text, Number] = Field(default_factory=dict)
    warning: bool = False


class Card(Closed):
    """A model: what it is, its training days, and the label rate of these."""

    sha256: Digest
    estimator: Text
    settings: Text
    first: Text
    last: Text
    rows: int
    label_rate: Number = None


class Candidate(Card):
    """The proposal's model, and the MD5 by which its dvc.lock names one."""

    locked: Text = ""


class Champion(Card):
    """The champion or the anchor: where it comes from."""

    origin: Text
    commit: Text


class Window(Closed):
    """The test window."""

    first: Text
    last: Text
    days: int
    rows: int
    label_rate: Number


class Change(Closed):
    """A key of params.yaml that the proposal changes."""

    key: Text
    base: Text
    proposal: Text


class Data(Closed):
    """The months of both, first and last."""

    base: list[Text]
    proposal: list[Text] | None = None


class Metric(Closed):
    """Both models' figures with intervals, and their difference."""

    name: Text
    better: Literal["higher", "lower"]
    candidate: Value
    champion: Value | None = None
    difference: Value | None = None


class Differences(Closed):
    """Quantiles of the candidate's answers on the test window minus the champion's, as shares of the task's
    span, at 0, 1, ... 100 %."""

    champion: Digest
    quantiles: Annotated[list[float], Field(min_length=101, max_length=101)]


class Part(Closed):
    """Some rows of the test window."""

    rows: int
    label_rate: Number
    candidate: dict[Text, Number]  # what the task compares by
    champion: dict[Text, Number] | None = None


class Month(Part):
    name: Text


class Slice(Part):
    """A slice of the test window; without bounds where it is too small to judge."""

    slice: Text
    value: Text
    days: int
    difference: Number = None
    low: Number = None
    high: Number = None


class Move(Closed):
    """Rows of the test window on which the candidate decides otherwise in one way: how many, on how many its
    decision costs less than the champion's or more, and what all of them save."""

    name: Text
    rows: int
    less: int
    more: int
    saved: float


class Moved(Closed):
    """A row of the test window: when, its slices, both answers, what came true, and what is saved."""

    time: Text
    slices: dict[Text, Text]
    champion: Text
    candidate: Text
    label: Text
    saved: float


class Decisions(Closed):
    """How decisions change, and the rows whose answers differ most."""

    moves: list[Move]
    rows: Annotated[list[Moved], Field(min_length=1)]


class Calibration(Closed, extra="allow"):
    """Tenths of the test window by p, by each part of the answer in turn, and the task's figures, each with
    NAME_interval."""

    predicted: list[float]
    observed: list[float]
    observed_interval: list[Interval]
    ece: Number
    __pydantic_extra__: dict[str, Number | Interval]


class Held(Closed):
    """How many expectations held of a month's, by the proposal's build."""

    month: Text
    held: int
    of: int


class Nearest(Closed):
    """A share of missing or impossible values beside what is allowed."""

    month: Text
    column: Text
    what: Text
    share: float
    allowed: float


class Note(Closed):
    """Why there is nothing else."""

    note: Text


class Validation(Closed):
    """What the build said of its data; nothing is decided by it."""

    months: list[Held]
    nearest: list[Nearest]


class Importance(Closed):
    feature: Text
    mean: float
    sd: float


class Dependence(Closed):
    feature: Text
    category: bool
    unit: Text
    values: list[Text | float]
    p: list[float]  # at each of these, of each part of the answer in turn


F = TypeVar("F")


class Features(Closed, Generic[F]):
    features: list[F]


class Explained(Closed):
    """A row with its SHAP values; `given` are its own, where a log may keep them."""

    p: float
    label: bool | float | Text
    values: list[float]
    given: list[Text | None]


class Shap(Closed):
    base: float | list[float]  # of an answer's only part, or of each
    features: list[Text]
    rows: list[Explained]


class Explanation(Closed):
    """What the models look at; a model that cannot be explained has a note."""

    rows: int
    repeats: int
    importance: dict[Model, Features[Importance] | Note]
    dependence: dict[Model, Features[Dependence] | Note]
    shap: dict[Model, Shap | Note]


class Verdict(Artifact):
    """All of gate.json. A head or base that is None was not named, and nobody may set a status by it."""

    NAME = "gate.json"
    WRITER = "this version's gate"
    WAY_OUT = "run `ml gate`, which makes it"
    LARGEST = 1_000_000

    version: Literal[1]
    head: Commit | None
    base: Commit | None
    verdict: Word
    superior: bool = False  # shown better than the anchor, which may be the champion
    findings: Annotated[list[Finding], Field(min_length=1, max_length=1000)]
    candidate: Candidate | None = None
    champion: Champion | None = None
    anchor: Champion | None = None
    window: Window | None = None
    thresholds: Gate | None = None
    params: list[Change] = Field(default_factory=list)
    data: Data | None = None
    code: list[Text] | None = None  # the files that the proposal changes, where both commits are at hand
    metrics: list[Metric] = Field(default_factory=list)
    dp: Differences | None = None
    months: list[Month] = Field(default_factory=list)
    slices: list[Slice] = Field(default_factory=list)
    decisions: Decisions | None = None
    confusion: dict[Model, Confusion] = Field(
        default_factory=dict, exclude_if=lambda of: not any(of.values())
    )
    calibration: dict[Model, Calibration] = Field(default_factory=dict)
    curve: dict[Model, dict[Text, list[float]]] = Field(default_factory=dict, alias="roc")
    validation: Validation | Note | None = None
    explain: Explanation | None = None

    @model_validator(mode="after")
    def _follows_from_its_findings(self) -> "Verdict":
        if self.verdict != (said := fold(self.findings)):
            raise ValueError(f"the verdict is {self.verdict}, and the findings say {said}")
        if self.superior and self.verdict == "FAIL":
            raise ValueError("a model that fails is not superior")
        return self

    @classmethod
    def of_file(cls, path: Path, way_out: str = "", extra: Literal["ignore"] | None = None) -> Self:
        """The verdict that a stranger may have left: UserError where it is a link, too."""
        if path.parent.is_symlink() or path.is_symlink():
            raise UserError(f"{path} is a link, and the gate writes a file: {way_out or cls.WAY_OUT}")
        return super().of_file(path, way_out, extra)

    def of(self, task: Task) -> "Verdict":
        """Itself. UserError where its figures are not those of the task."""
        compared = {metric.key for metric in task.compared}
        parts = [model for part in (*self.months, *self.slices) for model in (part.candidate, part.champion)]
        measured = set(task.ideal) | {f"{figure}_interval" for figure in task.ideal}
        figures = [each.__pydantic_extra__ for each in self.calibration.values()]
        squares: list[Any] = [row for of in self.confusion.values() for row in (of, *of.values())]
        if not (
            all(model.keys() == compared for model in parts if model is not None)
            and all(each.keys() == measured for each in figures)
            and not any(len(each.predicted) % len(task.parts) for each in self.calibration.values())
            and all(row.keys() == squares[0].keys() for row in squares)
            and all(isinstance(each[name], list) != (name in task.ideal) for each in figures for name in each)
            and all(curve.keys() == set(task.axes) for curve in self.curve.values())
            and all(len({len(axis) for axis in curve.values()}) == 1 for curve in self.curve.values())
        ):
            raise UserError(f"{self.NAME} has not the figures of {self.WRITER}: {self.WAY_OUT}")
        return self

    @property
    def reason(self) -> str:
        """The sentence of the first finding that has the verdict: text that may be hostile."""
        if self.verdict == "PASS":
            lone = next((f for f in self.findings if f.rule == "unchanged"), None)
            return lone.sentence if lone else f"all {len(self.findings)} rules hold"
        return next(finding.sentence for finding in self.findings if finding.verdict == self.verdict)


def fold(findings: Iterable[Finding | Said]) -> Word:
    """FAIL before INCONCLUSIVE before PASS; without any finding nothing is known."""
    verdicts: list[Word] = [finding.verdict for finding in findings] or ["INCONCLUSIVE"]
    return max(verdicts, key=lambda verdict: SEVERITY[verdict])
