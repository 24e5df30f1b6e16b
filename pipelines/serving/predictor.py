"""A release's answers without its server: model and golden rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.artifacts.serving import Golden, Settings
from pipelines.base.errors import UserError
from pipelines.base.files import sha256
from pipelines.core import tasks
from pipelines.core.contract import Contract
from pipelines.core.model import Model, Row

ROUNDING = 1e-6  # of golden rows: onnxruntime sums in another order on another kind of processor


class Predictor:
    """Answers rows of a contract's features."""

    def __init__(self, folder: Path | str, contract: Contract) -> None:
        """From a folder's files. UserError where they are another problem's, or golden rows differ here."""
        path, task = Path(folder) / "model.onnx", tasks.of(contract)
        self.contract, self.model, self.model_sha256 = contract, Model(path, task), sha256(path)
        golden, settings = Golden.read(path.parent), Settings.read(path.parent)
        names = {feature.name for feature in contract.features}
        if settings.name != contract.name or set(self.model.inputs) != names:
            odd = ", ".join(sorted(names.symmetric_difference(self.model.inputs))) or settings.name
            raise UserError(f"{path} is not a model of {contract.name}'s features ({odd}): run `dvc repro`")
        if (apart := golden.largest_difference(self.answer(golden.rows), task)) > ROUNDING:
            raise UserError(f"{path} answers the golden rows otherwise (max |{task.delta}| {apart:.2g})")

    def answer(self, rows: Sequence[Row]) -> np.ndarray:
        """Answers to n checked rows. UserError with the row where the model gives none of the task's kind."""
        answers = self.model.predict_rows(self.contract.features, rows)
        wrong, _ = self.model.task.wrong(answers)
        if wrong.any():
            raise UserError(f"rows[{int(wrong.argmax())}]: the model has no answer to these values")
        return answers
