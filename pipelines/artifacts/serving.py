"""serving.json: what of params.yaml the service reads. A Bento holds this module as well."""

from typing import Annotated

from pydantic import Field

from pipelines.artifacts.file import Artifact, Closed


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
