"""golden.json: requests with the answers that they must get. A Bento holds this module as well."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from pipelines.artifacts.file import Artifact
from pipelines.core.tasks.task import Task

Value = bool | int | float | str | None


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
