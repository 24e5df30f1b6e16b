"""metrics.json: how good a model is on the test window; shuffled.json: one of shuffled outcomes."""

from typing import Annotated

from pydantic import Field

from pipelines.artifacts.file import Artifact, Number


class Metrics(Artifact, extra="allow"):
    """All of metrics.json: the labelled rows, and each of the task's figures by its name."""

    NAME = "metrics.json"
    WRITER = "`ml stage evaluate`"

    rows: int
    days: int
    label_rate: float
    threshold: float | None
    __pydantic_extra__: dict[str, Number]

    @property
    def figures(self) -> dict[str, Number]:
        """What the task measures, by name."""
        return dict(self.__pydantic_extra__)


class Shuffled(Artifact):
    """All of verification/shuffled.json: what `Task.knows` says; None where chance dealt all to one side."""

    NAME = "shuffled.json"
    WRITER = "`ml stage verify`"

    knows: Annotated[float, Field(ge=0, le=1)] | None = Field(alias="roc_auc")
