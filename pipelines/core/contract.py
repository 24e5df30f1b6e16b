"""The types in which a problem is written: each column once, with all that is known about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

Type = Literal["category", "words", "integer", "number", "flag", "time", "text"]
TEXTS = ("category", "words", "text")
Verdict = Literal["PASS", "INCONCLUSIVE", "FAIL"]


@dataclass(frozen=True)
class Column:
    """One column of the data. `known_at`: so many hours before the event its value is known; None means only
    afterwards, and such a column can never be a feature."""

    name: str
    type: Type  # `words`: a text whose words the model counts; `text`: one that is no feature
    meaning: str
    known_at: float | None = None
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()  # a category's; another is accepted, as unseen, and of a label refused
    missing: float = 0.0  # the largest share of them that validation accepts; 0: a caller must send it
    derived: bool = False  # made by features.py; not in the data files
    key: bool = False  # identifies the event
    time: bool = False  # when the event happens; the day of every split and interval
    label: bool = False
    slice: bool = False  # the gate looks at each of its values
    group: bool = False  # rows with the same value belong together: these are drawn, not days
    loggable: bool = False  # the prediction log may keep it

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"columns.py: a column's name is {self.name!r}, but must be a text")
        if wrong := next(self._wrong(), None):
            raise ValueError(f"columns.py: {self.name}: {wrong}")

    @property
    def is_text(self) -> bool:
        """Whether its values are of type str."""
        return self.type in TEXTS

    def _wrong(self) -> Iterator[str]:
        if self.type not in get_args(Type):
            yield f"type is {self.type!r}, but must be one of {', '.join(get_args(Type))}"
        for name in ("known_at", "minimum", "maximum", "missing"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number and (value is not None or name == "missing"):
                yield f"{name} is {value!r}, but must be a number"
        if not 0 <= self.missing <= 1:
            yield f"missing is {self.missing}, but is a share, from 0 to 1"
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            yield f"minimum {self.minimum} is above maximum {self.maximum}"
        if self.slice and self.type == "words":
            yield "words are no slice, of which each value is looked at: make it a category"
        if not isinstance(self.values, tuple) or not all(isinstance(value, str) for value in self.values):
            yield f"values is {self.values!r}, but must be a tuple of texts"


class _Said:
    @property
    def says(self) -> str:
        """What the model predicts, in words: the first of the fields."""
        return str(next(iter(vars(self).values())))


@dataclass(frozen=True)
class Decision(_Said):
    """What is done with a prediction, in words; what its mistakes cost is in params.yaml."""

    positive: str  # what the label says when it is true
    act: str  # what is done above the threshold
    false_alarm: str  # what it means to act in vain
    miss: str  # what it means not to have acted


@dataclass(frozen=True)
class Estimate(_Said):
    """What a number that is predicted says, and what its errors mean; what they cost is in params.yaml."""

    quantity: str  # what the label says
    over: str  # what it means to predict too much
    under: str  # what it means to predict too little


@dataclass(frozen=True)
class Choice(_Said):
    """What is done with the answer which of several classes it is; what mistakes cost is in params.yaml."""

    subject: str  # what the label says
    acts: Mapping[str, str]  # each class, and what is done where it is decided for


# Of each type that a label may have.
TASKS = {"flag": Decision, "number": Estimate, "integer": Estimate, "category": Choice}


@dataclass(frozen=True)
class Contract:
    """A problem: its name (of the model, the Bento and the registry), the event of a row, and its columns."""

    name: str
    event: str
    horizon: float  # hours before the event at which the prediction is asked
    decision: Decision | Estimate | Choice
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if wrong := next(self._wrong(), None):
            raise ValueError(f"columns.py: {wrong}")

    def _wrong(self) -> Iterator[str]:
        if not isinstance(self.columns, tuple) or not all(isinstance(c, Column) for c in self.columns):
            yield "columns must be a tuple of Column"
        names = [column.name for column in self.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield f"{twice[0]} is written twice"
        for flag in ("key", "time", "label"):
            found = [column.name for column in self.columns if getattr(column, flag)]
            if len(found) != 1:
                yield f"exactly one column needs {flag}=True, not {len(found)}: {found}"
        if len(self.groups) > 1:
            several = ", ".join(column.name for column in self.groups)
            yield f"one column at most has group=True, not {several}"
        for column in self.columns:
            if column.group and (column.derived or column.type not in ("category", "text", "integer")):
                yield f"{column.name}: a group is a category, a text or an integer of the data files"
            if column.values and column.type != "category":
                yield f"{column.name} has values but is not a category"
        if self.time.type != "time":
            yield f"the time {self.time.name} must be of type time"
        if self.key.type == "words":
            yield f"the key {self.key.name} cannot be words, which are spelled anew: make it a text"
        label = self.label
        if label.type not in TASKS or label.known_at is not None:
            yield f"the label {label.name} must be of type {', '.join(TASKS)}, and known only afterwards"
        if label.type == "category" and len(set(label.values)) < max(2, len(label.values)):
            yield f"the label {label.name} needs values: its classes, two or more, each once"
        if label.type in ("number", "integer") and None in (label.minimum, label.maximum):
            yield f"the label {label.name} needs minimum and maximum, which differences are shares of"
        if not isinstance(self.decision, wanted := TASKS[label.type]):
            yield f"decision must be a {wanted.__name__}, since the label {label.name} is a {label.type}"
        if isinstance(self.decision, Choice) and set(self.decision.acts) != set(label.values):
            yield f"decision.acts must say what is done for each of {', '.join(label.values)}, and no other"

    def column(self, name: str) -> Column:
        """The column of that name. KeyError where there is none."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @cached_property
    def key(self) -> Column:
        return next(column for column in self.columns if column.key)

    @cached_property
    def time(self) -> Column:
        return next(column for column in self.columns if column.time)

    @cached_property
    def label(self) -> Column:
        return next(column for column in self.columns if column.label)

    @cached_property
    def groups(self) -> tuple[Column, ...]:
        """The column whose values name groups, or none."""
        return tuple(column for column in self.columns if column.group)

    @cached_property
    def features(self) -> tuple[Column, ...]:
        """The model's inputs, in order: all that is known at the horizon, key and time aside."""
        return tuple(c for c in self._others if self._in_time(c) and c.type not in ("time", "text"))

    @cached_property
    def left_out(self) -> tuple[Column, ...]:
        """What is known in time and is not a feature for its type alone: texts and further times."""
        return tuple(c for c in self._others if self._in_time(c) and c.type in ("time", "text"))

    @cached_property
    def forbidden(self) -> tuple[Column, ...]:
        """Columns that come too late for a prediction: the leak denylist (the label among them)."""
        return tuple(c for c in self._others if not self._in_time(c))

    @cached_property
    def _others(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if not (column.key or column.time))

    def _in_time(self, column: Column) -> bool:
        return column.known_at is not None and column.known_at >= self.horizon

    @cached_property
    def raw(self) -> tuple[Column, ...]:
        """The columns of a data file, in order."""
        return tuple(column for column in self.columns if not column.derived)

    @cached_property
    def derived(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.derived)

    @cached_property
    def slices(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.slice)

    @cached_property
    def loggable(self) -> tuple[Column, ...]:
        """The features that the prediction log may keep."""
        return tuple(column for column in self.features if column.loggable)


@dataclass(frozen=True)
class Finding:
    """What one rule of the gate says: a verdict, one sentence, and the numbers behind it."""

    rule: str
    verdict: Verdict
    sentence: str
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    warning: bool = False  # a PASS that a reviewer should look at
