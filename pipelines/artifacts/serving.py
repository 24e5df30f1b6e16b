"""serving.json: what of params.yaml the service reads; golden.json: requests with the answers that they must
get. A Bento holds this module as well."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from pipelines.artifacts.file import Artifact, Closed
from pipelines.core.tasks.task import Task

Value = bool | int | float | str | None


class Interval(Closed):
    """A label is within `half_width` of its answer, in the label's unit, with a probability of `level`: so it
    was on the newest days of the training, answered by models of the days before them."""

    level: Annotated[float, Field(gt=0, lt=1)]
    half_width: Annotated[float, Field(ge=0)]
    days: int


class Settings(Artifact):
    """All of serving.json."""

    NAME = "serving.json"
    WRITER = "`ml stage evaluate`"

    name: str
    api: int  # raised when callers must change their requests
    threshold: float | None  # act from this probability on; None where the answer is no single one
    batch: Annotated[int, Field(ge=1)]  # the most rows of a request
    costs: dict[str, dict[str, float]] | None = Field(default=None, exclude_if=lambda costs: costs is None)
    interval: Interval | None = Field(default=None, exclude_if=lambda interval: interval is None)


class Golden(Artifact):
    """All of golden.json: `rows` of features, `p` their answers."""

    NAME = "golden.json"
    WRITER = "`ml stage evaluate`"

    rows: Annotated[tuple[dict[str, Value], ...], Field(min_length=1)]
    p: tuple[float | tuple[float, ...], ...]

    @model_validator(mode="after")
    def _an_answer_for_each(self) -> "Golden":
        if len(self.rows) != len(self.p):
            raise ValueError(f"it has {len(self.rows)} rows and {len(self.p)} answers")
        return self

    def largest_difference(self, answers: Sequence[Any] | np.ndarray, task: Task) -> float:
        """Between `answers` and what they must be; infinite where one is missing, not finite, or not of the
        task's shape."""
        shape = (len(self.p), *task.shape)
        if any(np.shape(answer) != task.shape for answer in self.p) or np.shape(answers) != shape:
            return math.inf
        given = np.asarray(answers, dtype=np.float64)
        return float(task.difference(given, np.array(self.p)).max()) if np.isfinite(given).all() else math.inf
