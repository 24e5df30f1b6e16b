"""model.json: what a model is, and what it was trained on; metrics.json: how good it is on the test window;
shuffled.json: one of shuffled outcomes."""

from typing import Annotated

from pydantic import Field, JsonValue

from pipelines.artifacts.file import Artifact, Closed, Day, Number


class Trained(Closed):
    """The labelled rows that a model was trained on; first and last are days."""

    first: Day
    last: Day
    days: int
    rows: Annotated[int, Field(gt=0, lt=10**12)]
    label_rate: float


class Description(Artifact):
    """All of model.json. `parity` is how far ONNX and sklearn differ, `versions` of whose packages."""

    NAME = "model.json"
    WRITER = "`ml stage train`"

    name: str
    estimator: str
    settings: dict[str, JsonValue]
    seed: int
    train: Trained
    features: tuple[str, ...]
    request: dict[str, JsonValue] = Field(alias="schema")  # of a request's row
    parity: float
    versions: dict[str, str]


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
