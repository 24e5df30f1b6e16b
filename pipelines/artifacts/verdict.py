"""evidence/gate.json: what the gate decided of one head against one base, and all that its report says.

Whoever speaks of a proposal (status, comment, report, release) reads this and renders it anew. Its texts may
come from a proposal: they are data, and escaped where they are shown.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.core.contract import Finding as Said
from pipelines.core.contract import Verdict as Word
from pipelines.core.params import Gate

NAME = "gate.json"
LARGEST = 1_000_000  # bytes
LONGEST = 600  # characters of a text
SEVERITY: dict[Word, int] = {"PASS": 0, "INCONCLUSIVE": 3, "FAIL": 4}  # which are the exit codes of `ml gate`

Text = Annotated[str, Field(max_length=LONGEST)]
Commit = Annotated[str, Field(pattern=r"\A[0-9a-f]{40}([0-9a-f]{24})?\z")]
Digest = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
Number = float | None
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]
Value = Annotated[list[Number], Field(min_length=3, max_length=3)]  # the point and its interval
Model = Literal["candidate", "champion"]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Finding(_Closed):
    """What one rule says; `warning` marks a PASS that a reviewer should look at."""

    rule: Text
    verdict: Word
    sentence: Text
    numbers: dict[Text, Number] = {}
    warning: bool = False


class Card(_Closed):
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


class Window(_Closed):
    """The test window."""

    first: Text
    last: Text
    days: int
    rows: int
    label_rate: Number


class Change(_Closed):
    """A key of params.yaml that the proposal changes."""

    key: Text
    base: Text
    proposal: Text


class Data(_Closed):
    """The months of both, first and last."""

    base: list[Text]
    proposal: list[Text] | None = None


class Metric(_Closed):
    """Both models' figures with intervals, and their difference."""

    name: Text
    better: Literal["higher", "lower"]
    candidate: Value
    champion: Value | None = None
    difference: Value | None = None


class Differences(_Closed):
    """Quantiles of the candidate's answers on the test window minus the champion's, at 0, 1, ... 100 %."""

    champion: Digest
    quantiles: Annotated[list[float], Field(min_length=101, max_length=101)]


class Losses(_Closed):
    """Log-loss and ROC-AUC of some rows."""

    log_loss: Number
    roc_auc: Number


class Month(_Closed):
    """A month of the test window."""

    name: Text
    rows: int
    label_rate: Number
    candidate: Losses
    champion: Losses | None = None


class Slice(_Closed):
    """A slice of the test window; without bounds where it is too small to judge."""

    slice: Text
    value: Text
    rows: int
    days: int
    label_rate: Number
    candidate: Losses
    champion: Losses | None = None
    difference: Number = None
    low: Number = None
    high: Number = None


class Calibration(_Closed):
    """Tenths of the test window by p, and the line through them."""

    predicted: list[float]
    observed: list[float]
    observed_interval: list[Interval]
    intercept: Number
    intercept_interval: Interval
    slope: Number
    slope_interval: Interval
    ece: Number


class Curve(_Closed):
    """The share of positives found at shares of false alarms."""

    false_alarms: list[float]
    found: list[float]


class Held(_Closed):
    """How many expectations held of a month's, by the proposal's build."""

    month: Text
    held: int
    of: int


class Nearest(_Closed):
    """A share of missing or impossible values beside what is allowed."""

    month: Text
    column: Text
    what: Text
    share: float
    allowed: float


class Note(_Closed):
    """Why there is nothing else."""

    note: Text


class Validation(_Closed):
    """What the build said of its data; nothing is decided by it."""

    months: list[Held]
    nearest: list[Nearest]


class Importance(_Closed):
    feature: Text
    mean: float
    sd: float


class Dependence(_Closed):
    feature: Text
    category: bool
    unit: Text
    values: list[Text | float]
    p: list[float]


class Importances(_Closed):
    features: list[Importance]


class Dependences(_Closed):
    features: list[Dependence]


class Explained(_Closed):
    """A row with its SHAP values; `given` are its own, where a log may keep them."""

    p: float
    label: bool
    values: list[float]
    given: list[Text | None]


class Shap(_Closed):
    base: float
    features: list[Text]
    rows: list[Explained]


class Explanation(_Closed):
    """What the models look at; a model that cannot be explained has a note."""

    rows: int
    repeats: int
    importance: dict[Model, Importances | Note]
    dependence: dict[Model, Dependences | Note]
    shap: dict[Model, Shap | Note]


class Verdict(_Closed):
    """All of gate.json. A head or base that is None was not named, and nobody may set a status by it."""

    version: Literal[1]
    head: Commit | None
    base: Commit | None
    verdict: Word
    superior: bool = False  # shown better than the champion
    findings: Annotated[list[Finding], Field(min_length=1, max_length=1000)]
    candidate: Candidate | None = None
    champion: Champion | None = None
    anchor: Champion | None = None
    window: Window | None = None
    thresholds: Gate | None = None
    params: list[Change] = []
    data: Data | None = None
    code: list[Text] | None = None  # the files that the proposal changes, where both commits are at hand
    metrics: list[Metric] = []
    dp: Differences | None = None
    months: list[Month] = []
    slices: list[Slice] = []
    calibration: dict[Model, Calibration] = {}
    roc: dict[Model, Curve] = {}
    validation: Validation | Note | None = None
    explain: Explanation | None = None

    @model_validator(mode="after")
    def _follows_from_its_findings(self) -> "Verdict":
        if self.verdict != fold(self.findings):
            raise ValueError(f"the verdict is {self.verdict}, and the findings say {fold(self.findings)}")
        if self.superior and self.verdict == "FAIL":
            raise ValueError("a model that fails is not superior")
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


def write(verdict: Verdict, folder: Path) -> Path:
    """Write gate.json into `folder`, whole or not at all."""
    return write_json(folder / NAME, verdict.model_dump(mode="json"))


def read(folder: Path) -> Verdict:
    """The verdict in `folder`, which a stranger may have left. UserError, in one sentence, where there is
    none, or where it is a link, too large, of another version or in any other way not what the gate writes.
    """
    path = folder / NAME
    if folder.is_symlink() or path.is_symlink():
        raise UserError(f"{path} is a link, and the gate writes a file: run `ml gate`, which makes it")
    if not path.is_file():
        raise UserError(f"{path} does not exist: run `ml gate`, which makes it")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} is larger than {LARGEST:,} bytes, and the gate writes less")
    try:
        return Verdict.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"][:4])
        why = "".join(c if c.isprintable() else " " for c in f"{field}: {first['msg']}".strip(": "))[:200]
        raise UserError(
            f"{path} is not what this version's gate writes ({why}): run `ml gate` again"
        ) from None
