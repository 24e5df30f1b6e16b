"""verification/shuffled.json: how well a model answers that was trained on shuffled outcomes."""

from typing import Annotated

from pydantic import Field

from pipelines.artifacts.file import Artifact


class Shuffled(Artifact):
    """All of shuffled.json: its ROC-AUC on the test window; None where chance dealt all to one side."""

    NAME = "shuffled.json"
    WRITER = "`ml stage verify`"
    WAY_OUT = "run `dvc repro`, which makes it"

    roc_auc: Annotated[float, Field(ge=0, le=1)] | None
