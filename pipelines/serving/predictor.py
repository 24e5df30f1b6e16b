"""A release's answers without its server: model and golden rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.artifacts.golden import Golden
from pipelines.artifacts.serving import Settings
from pipelines.base.errors import UserError
from pipelines.base.files import sha256
from pipelines.core import tasks
from pipelines.core.contract import Contract
from pipelines.core.model import Model, Row

ROUNDING = 1e-6  # of golden rows: onnxruntime sums in another order on another kind of processor


class Predictor:
    """Answers rows of a contract's features."""

    def __init__(self, contract: Contract, settings: Settings, model: Model, golden: Golden) -> None:
        self.contract, self.settings, self.model, self.golden = contract, settings, model, golden
        self.model_sha256 = ""

    @classmethod
    def load(cls, folder: Path | str, contract: Contract) -> "Predictor":
        """From a folder's files. UserError where they are another problem's, or golden rows differ here."""
        path, task = Path(folder) / "model.onnx", tasks.of(contract)
        model, golden, settings = Model(path, task), Golden.read(path.parent), Settings.read(path.parent)
        names = {feature.name for feature in contract.features}
        if settings.name != contract.name or set(model.inputs) != names:
            odd = ", ".join(sorted(names.symmetric_difference(model.inputs))) or settings.name
            raise UserError(f"{path} is not a model of {contract.name}'s features ({odd}): run `dvc repro`")
        predictor = cls(contract, settings, model, golden)
        predictor.model_sha256 = sha256(path)
        if (apart := golden.largest_difference(predictor.answer(golden.rows), task)) > ROUNDING:
            raise UserError(f"{path} answers the golden rows otherwise (max |{task.delta}| {apart:.2g})")
        return predictor

    def answer(self, rows: Sequence[Row]) -> np.ndarray:
        """Answers to n checked rows. UserError with the row where the model gives none of the task's kind."""
        answers = self.model.predict_rows(self.contract.features, rows)
        wrong, _ = self.model.task.wrong(answers)
        if wrong.any():
            raise UserError(f"rows[{int(wrong.argmax())}]: the model has no answer to these values")
        return answers
