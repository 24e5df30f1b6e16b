"""serving.json: what of params.yaml the service reads. A Bento holds this module as well."""

from typing import Annotated

from pydantic import Field

from pipelines.artifacts.file import Artifact


class Settings(Artifact):
    """All of serving.json."""

    NAME = "serving.json"
    WRITER = "`ml stage evaluate`"

    name: str
    api: int  # raised when callers must change their requests
    threshold: float | None  # act from this probability on; None where the answer is no single one
    batch: Annotated[int, Field(ge=1)]  # the most rows of a request
    costs: dict[str, dict[str, float]] | None = Field(default=None, exclude_if=lambda costs: costs is None)
