"""model.json: what a model is, and what it was trained on."""

from typing import Annotated

from pydantic import Field, JsonValue

from pipelines.artifacts.file import Artifact, Closed, Day


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
