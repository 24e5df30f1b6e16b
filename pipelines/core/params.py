"""params.yaml, typed and closed: a key that nobody reads, or a value of another type, is an error."""

import io
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipelines.base import conflicts
from pipelines.base.errors import UserError
from pipelines.core import periods


def _text(value: Any) -> Any:
    """YAML reads 2013 as a number and 2013-06-03 as a date."""
    return str(value) if type(value) in (int, date) else value


def _named(value: str) -> str:
    periods.grain(value)
    return value


Period = Annotated[str, BeforeValidator(_text), AfterValidator(_named)]
Positive = Annotated[float, Field(gt=0)]
Setting = bool | int | float | str | None
Unit = Literal["day", "week", "month"]


def share(said: float | str) -> float | None:
    """0.05 of "5 %"; None of a number."""
    return float(said.rstrip("% ")) / 100 if isinstance(said, str) else None


def absolute(said: float | str, of: float) -> float:
    """A number as it is said, a share as one of `of`."""
    part = share(said)
    return float(said) if part is None else part * of


def _amount(said: Any) -> Any:
    text = isinstance(said, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})? ?%", said)
    number = isinstance(said, int | float) and not isinstance(said, bool)
    if not (text or number) or absolute(said, 1.0) <= 0:
        raise ValueError(f"{said!r:.80} is neither a number above 0 nor a share of the champion's, as 5 %")
    return said


Amount = Annotated[float | str, BeforeValidator(_amount)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Data(_Closed):
    """The periods in data/, a file each: months, or days, weeks or years."""

    first: Period
    through: Period


class Train(_Closed):
    """The periods `first` to `last`, both included, are trained on; later days judge."""

    first: Period
    last: Period
    seed: int
    estimator: str
    settings: dict[str, Setting]


class Values(_Closed):
    """What a setting may be: from `low` to `high` (whole where both are), or one of `choices`, a list."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False  # from 1 to 10 as often as from 10 to 100
    step: Annotated[int | float, Field(gt=0)] | None = None
    choices: list[Setting] = []

    @pydantic.model_validator(mode="before")
    @classmethod
    def _a_list_of_choices(cls, value: Any) -> Any:
        return {"choices": value} if isinstance(value, list) else value

    @pydantic.model_validator(mode="after")
    def _one_of_the_two(self) -> "Values":
        if self.choices:
            return self
        if self.low is None or self.high is None:
            raise ValueError("give it low and high, or a list of choices")
        if not self.low < self.high:
            raise ValueError(f"low is {self.low}, which is not below high, {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and takes no step")
        return self


class Tune(_Closed):
    """What `ml tune` tries: the space is estimator -> setting -> values."""

    trials: Annotated[int, Field(ge=1)] = 30
    folds: Annotated[int, Field(ge=1)] = 3
    space: dict[str, dict[str, Values]] = {}


class _OfTask(_Closed):
    """Some keys are of one kind of answer only: `Task.suited` asks for those of the problem's, and refuses
    the others. What is not said is not written."""

    @pydantic.model_serializer(mode="wrap")
    def _said(self, handler: Any) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class Decision(_OfTask):
    """What mistakes cost. Of a flag the two kinds of them, in the same unit: their ratio sets the threshold.
    Of a number an error of 1 in the label's unit, above it and below it; `coverage` is the share of labels
    that the interval around an answer is to hold. Of classes, for each that is true, what it costs to say
    each other one."""

    false_alarm: Positive | None = None
    miss: Positive | None = None
    over: Positive | None = None
    under: Positive | None = None
    coverage: Annotated[float, Field(gt=0, lt=1)] | None = None
    costs: dict[str, dict[str, Annotated[float, Field(ge=0)]]] | None = None

    @property
    def threshold(self) -> float | None:
        """The probability from which acting is cheaper (Elkan 2001, eq. 2, with correct decisions free)."""
        if self.false_alarm is None or self.miss is None:
            return None
        return self.false_alarm / (self.false_alarm + self.miss)


class Margin(_OfTask):
    """How much worse than the champion still counts as not worse: in the metric's unit, or a share of the
    champion's loss, such as 5 %; a number for `cost` is such a share too."""

    roc_auc: Amount | None = None
    log_loss: Amount | None = None
    mae: Amount | None = None
    rmse: Amount | None = None
    coverage: Positive | None = None
    cost: Amount = 0.02
    calibration: Positive = 0.10


class Floor(_OfTask):
    """What no model may fall below, whatever the champion does."""

    roc_auc: float | None = None
    brier_skill: float | None = None
    r2: float | None = None


class Slice(_Closed):
    """Which slices are judged, and how much of the loss one may lose, or what share of the champion's."""

    rows: Annotated[int, Field(ge=1)] = 500
    days: Annotated[int, Field(ge=2)] = 10
    fail: Amount = 0.005
    warn: Amount = 0.010


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
    unit: Unit = Field(default="day", exclude_if=lambda unit: unit == "day")  # that the bootstrap draws
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


Environment = Literal["staging", "production"]


class Shadow(_Closed):
    """How a release answers copies of live requests first: for so many pairs of answers; `patience` in
    seconds; `wasserstein`, in probability or as a share of a number's range, between the two releases' live
    differences and the gate's."""

    environments: list[Environment] = []
    pairs: Annotated[int, Field(ge=1)] = 1000
    patience: Positive = 600.0
    ask_again: bool = False  # after `patience`, logged requests of the last weeks stand in for callers
    wasserstein: Positive = 0.05


class Canary(_Closed):
    """A share of the live requests, in percent, for so many seconds and at least so many requests; where they
    do not come within `patience` seconds more, the rollout is held."""

    share: Annotated[float, Field(gt=0, lt=100)]
    seconds: Positive
    requests: Annotated[int, Field(ge=1)] = 500
    patience: Positive = 600.0


class Bake(_Closed):
    """How long, and for how many requests at least, the old colour stays behind the new one."""

    seconds: Positive = 5.0
    requests: Annotated[int, Field(ge=1)] = 20


class Analysis(_Closed):
    """The new slot is worse where its share of failed requests is higher by `errors`, or that of slow ones
    `slower` times. `level` is the chance to turn back a release that is as good."""

    errors: Annotated[float, Field(gt=0, lt=1)] = 0.005
    slower: Annotated[float, Field(ge=1)] = 2.0
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.01


class Rollout(_Closed):
    """How a rollout goes; all times in seconds."""

    healthy_within: Positive
    drain_within: Positive
    answer_within: Positive = 0.25  # the median of one row
    shadow: Shadow = Shadow()
    canary: list[Canary] = []
    bake: Bake = Bake()
    analysis: Analysis = Analysis()


class Drift(_OfTask):
    """When the drift check speaks up."""

    psi: Positive
    brier_skill: float | None = None
    r2: float | None = None
    months: Annotated[int, Field(ge=1)]
    days: Annotated[int, Field(ge=2)]  # a month of weekly events has four


class Params(_Closed):
    """All of params.yaml."""

    data: Data
    train: Train
    tune: Tune = Tune()
    decision: Decision
    gate: Gate
    serving: Serving
    rollout: Rollout
    drift: Drift

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> "Params":
        named = (self.data.first, self.data.through, self.train.first, self.train.last)
        if len(kinds := sorted({periods.grain(name) for name in named})) > 1:
            raise ValueError(f"data and train name a {' and a '.join(kinds)}: name periods of one kind")
        if not self.data.first <= self.train.first <= self.train.last < self.data.through:
            raise ValueError(
                "they must satisfy data.first <= train.first <= train.last < data.through: "
                "the days after train.last judge the model"
            )
        return self


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml. UserError with the field and what is wrong with it."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        conflicts.refuse(Path(path), text)
        value = yaml.safe_load(text)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run `ml` at the top of the repository") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:  # a date that does not exist; a number of more digits than Python reads
        line = next((n for n, line in enumerate(text.splitlines(), 1) if re.search(r"\d{4300}", line)), 0)
        where, why = f"{path}, line {line}" if line else path, str(error).partition(";")[0]
        raise UserError(f"{where}: a value cannot be read ({why}): correct it") from None
    return parse(value, str(path))


def parse(value: Any, name: str = "params.yaml") -> Params:
    """Check a mapping that was read from `name`."""
    if not isinstance(value, dict):
        raise UserError(f"{name} must be a mapping with the keys {', '.join(Params.model_fields)}")
    try:
        found = Params.model_validate(value)
    except ValidationError as error:
        raise UserError(_sentence(name, error)) from None
    if long := [key for key, one in flat(found.model_dump()) if type(one) is int and abs(one) >> 63]:
        raise UserError(f"{name}: {long[0]} has more than 64 bits: write a smaller number")
    return found


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as `margin.roc_auc` with their values."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _sentence(name: str, error: ValidationError) -> str:
    errors = error.errors()
    # A mistyped key is also a missing one; the word that is in the file says more.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{name}: {field} is not a known key; {_keys_beside(first['loc'][:-1])}"
    if first["type"] == "missing":
        return f"{name}: {field} is missing"
    if first["type"] == "value_error":
        return f"{name}: {f'{field}: ' if field else ''}{first['msg'].removeprefix('Value error, ')}"
    try:
        shown = f"{first['input']!r:.80}"
    except ValueError:  # Python writes no number of more than 4,300 digits
        shown = "a number of thousands of digits"
    return f"{name}: {field} is {shown}, but {first['msg'][0].lower()}{first['msg'][1:]}"


def _keys_beside(location: tuple[int | str, ...]) -> str:
    model: Any = Params
    for part in location:
        if get_origin(model) in (dict, list):
            model = get_args(model)[-1]  # of what is in it, whatever the user calls it
        else:
            model = model.model_fields[str(part)].annotation
    where = f" of {'.'.join(map(str, location))}" if location else ""
    return f"the keys{where} are {', '.join(model.model_fields)}"


def edited(text: str, values: Mapping[str, Any]) -> str:
    """The text of params.yaml with `values`, by dotted name, in place of the old ones: comments stay. A
    mapping is given whole: keys that it lacks go. UserError where params.yaml may not say so."""
    from ruamel.yaml import YAML
    from ruamel.yaml.util import load_yaml_guess_indent

    file = YAML()
    file.preserve_quotes = True
    file.width = 10_000
    file.representer.add_representer(float, _float)
    content, indent, offset = load_yaml_guess_indent(text, yaml=file)
    file.indent(sequence=indent or 2, offset=offset or 0)
    for name, value in values.items():
        *path, last = name.split(".")
        inside = content
        for part in path:
            inside = inside.setdefault(part, {})
        if isinstance(value, Mapping) and last in inside:
            _replace(inside[last], value)
        else:
            inside[last] = value
    out = io.StringIO()
    file.dump(content, out)
    parse(yaml.safe_load(out.getvalue()))
    return out.getvalue()


def _replace(mapping: Any, values: Mapping[str, Any]) -> None:
    """Key by key: the blank line or comment after a mapping belongs to its last key, and must stay there."""
    last = next(reversed(mapping), None)
    for key in mapping.keys() - values.keys():
        del mapping[key]
    for key, value in values.items():
        if key in mapping:
            mapping[key] = value
        else:
            mapping.insert(max(len(mapping) - 1, 0), key, value)
    if last in mapping.ca.items and last not in mapping and mapping:
        mapping.ca.items[next(reversed(mapping))] = mapping.ca.items.pop(last)


def _float(representer: Any, value: float) -> Any:
    """As PyYAML writes it, which takes 1e-05 for a text."""
    return representer.represent_scalar("tag:yaml.org,2002:float", yaml.safe_dump(value).split()[0])
