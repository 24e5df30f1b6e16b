"""The candidate made once more, by the judge: the base's code, the proposal's params.yaml."""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.files import write_bytes
from pipelines.judge import beside
from pipelines.model import Model
from pipelines.params import Params
from pipelines.problem.columns import CONTRACT
from pipelines.schema import request_schema
from pipelines.training import table, train, verify


@dataclass(frozen=True)
class Retrained:
    """What the base's code makes of the proposal's params.yaml and of the source's rows."""

    params: Params
    rows: pd.DataFrame  # of prepared.parquet
    raw: pd.DataFrame
    content: bytes

    @cached_property
    def model(self) -> Model:
        with tempfile.TemporaryDirectory() as folder:
            return Model(write_bytes(Path(folder) / "model.onnx", self.content))

    @cached_property
    def card(self) -> dict[str, object]:
        """What model.json must say of it."""
        trained = table.training(self.params, self.rows)
        days = trained[CONTRACT.time.name].dt.normalize()
        return {
            "first": str(days.min().date()),
            "last": str(days.max().date()),
            "rows": len(trained),
            "schema": request_schema(CONTRACT),
        }

    def beside(self, model: Model) -> dict[str, Any]:
        """What stands beside the candidate's `model`, by the name of each file."""
        return beside.of(self.params, self.rows, model)

    def repeats_itself(self) -> bool:
        """Whether the same training gives the same model once more."""
        return train.fit(self.params, self.rows) == self.content

    def of_shuffled_outcomes(self) -> float:
        """ROC-AUC on V of a model of shuffled outcomes."""
        return verify.of_shuffled_outcomes(self.params, self.raw)


def again(params: Params, rows: pd.DataFrame, raw: pd.DataFrame) -> Retrained:
    """The model of the proposal's params. UserError or Refused where the base's code cannot make one."""
    return Retrained(params, rows, raw, train.fit(params, rows))
