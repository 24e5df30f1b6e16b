"""params.yaml, typed and closed: a key that nobody reads, or a value of another type, is an error."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.errors import UserError

Month = Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
Positive = Annotated[float, Field(gt=0)]
Setting = bool | int | float | str | None


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Data(_Closed):
    """The months in data/."""

    first: Month
    through: Month


class Train(_Closed):
    """What is trained on: the months `first` to `last`, both included; later days judge."""

    first: Month
    last: Month
    seed: int
    estimator: str
    settings: dict[str, Setting]


class Decision(_Closed):
    """What the two mistakes cost, in the same unit; their ratio sets the threshold."""

    false_alarm: Positive
    miss: Positive

    @property
    def threshold(self) -> float:
        """The probability from which acting is cheaper (Elkan 2001, eq. 2, with correct decisions free)."""
        return self.false_alarm / (self.false_alarm + self.miss)


class Margin(_Closed):
    """How much worse than the champion still counts as not worse; `cost` is a share of the champion's."""

    roc_auc: Positive
    log_loss: Positive
    cost: Positive = 0.02
    calibration: Positive = 0.10


class Floor(_Closed):
    """What no model may fall below, whatever the champion does."""

    roc_auc: float
    brier_skill: float


class Slice(_Closed):
    """Which slices are judged, and how much log-loss one may lose."""

    rows: Annotated[int, Field(ge=1)] = 500
    days: Annotated[int, Field(ge=2)] = 10
    fail: Positive = 0.005
    warn: Positive = 0.010


class Budget(_Closed):
    """What a model may cost to serve, as a multiple of the champion's."""

    size: Positive = 2.0
    latency: Positive = 1.5


class Leak(_Closed):
    """The ROC-AUC from which a single feature, or a model of shuffled outcomes, knows too much."""

    feature: Annotated[float, Field(gt=0.5, le=1)] = 0.80
    shuffled: Annotated[float, Field(gt=0.5, le=1)] = 0.55


class Gate(_Closed):
    """When a proposal may merge. What later versions of the template added has a default."""

    days: Annotated[int, Field(ge=7)]
    resamples: Annotated[int, Field(ge=100)]
    margin: Margin
    floor: Floor
    slice: Slice = Slice()
    budget: Budget = Budget()
    leak: Leak = Leak()
    rules: list[str] = []


class Serving(_Closed):
    """What callers rely on."""

    api: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]


class Rollout(_Closed):
    """How long the steps of a rollout may take, in seconds."""

    healthy_within: Positive
    watch: Positive
    drain_within: Positive


class Drift(_Closed):
    """When the drift check speaks up."""

    psi: Positive
    brier_skill: float
    months: Annotated[int, Field(ge=1)]
    days: Annotated[int, Field(ge=7)]


class Params(_Closed):
    """All of params.yaml."""

    data: Data
    train: Train
    decision: Decision
    gate: Gate
    serving: Serving
    rollout: Rollout
    drift: Drift

    @model_validator(mode="after")
    def _months_in_order(self) -> "Params":
        if not self.data.first <= self.train.first <= self.train.last < self.data.through:
            raise ValueError(
                "the months must satisfy data.first <= train.first <= train.last < data.through: "
                "the days after train.last judge the model"
            )
        return self


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml. UserError with the field and what is wrong with it."""
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run `ml` at the top of the repository") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return parse(value, str(path))


def parse(value: Any, name: str = "params.yaml") -> Params:
    """Check a mapping that was read from `name`."""
    if not isinstance(value, dict):
        raise UserError(f"{name} must be a mapping with the keys {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(value)
    except ValidationError as error:
        raise UserError(_sentence(name, error)) from None


def _sentence(name: str, error: ValidationError) -> str:
    errors = error.errors()
    # A mistyped key is also a missing one; the word that stands in the file says more.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{name}: {field} is not a known key; {_keys_beside(first['loc'])}"
    if first["type"] == "missing":
        return f"{name}: {field} is missing"
    if first["type"] == "value_error":
        return f"{name}: {first['msg'].removeprefix('Value error, ')}"
    return f"{name}: {field} is {first['input']!r}, but {first['msg'][0].lower()}{first['msg'][1:]}"


def _keys_beside(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Params
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        assert isinstance(annotation, type)
        model = annotation
    where = ".".join(str(part) for part in location[:-1])
    return f"the keys {f'of {where} ' if where else ''}are {', '.join(model.model_fields)}"
