"""An ONNX model: load and predict. All that the service needs to answer."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.base.errors import UserError
from pipelines.core import words
from pipelines.core.contract import Column
from pipelines.core.tasks.task import Task

Row = Mapping[str, Any]
Inputs = dict[str, np.ndarray]


class Model:
    """A model that answers columns of features as its task does."""

    def __init__(self, path: Path | str, task: Task) -> None:
        """Load an ONNX file. UserError where it is missing, cut or no model."""
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported
        import onnxruntime  # here: who only encodes rows does without

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # one row takes 0.05 ms: threads would cost more than they bring
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            content = Path(path).read_bytes()
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except FileNotFoundError:
            raise UserError(f"{path} does not exist: run `dvc repro`, which makes it") from None
        except Exception as error:  # onnxruntime has a class of its own for each way in which a file is bad
            raise UserError(f"{path} is not a whole ONNX model ({str(error).splitlines()[0]})") from None
        self.task = task
        self.inputs: tuple[str, ...] = tuple(entry.name for entry in self._session.get_inputs())

    def predict(self, inputs: Inputs) -> np.ndarray:
        """The answers to inputs of shape (n, 1) each, as made by `encode`: float64, (n, *task.shape)."""
        (found,) = self._session.run([self.task.outputs[-1]], {name: inputs[name] for name in self.inputs})
        return self.task.answers(found)

    def predict_rows(self, features: Sequence[Column], rows: Sequence[Row]) -> np.ndarray:
        """The answers to rows of JSON values."""
        return self.predict({f.name: encode(f, [row.get(f.name) for row in rows]) for f in features})


def encode(column: Column, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """n values as the model takes them: shape (n, 1), object of str, or float32 with NaN for missing."""
    if column.is_text:
        texts = [v if type(v) is str else "" if _is_missing(v) else str(v) for v in values]
        texts = [words.plain(text) for text in texts] if column.type == "words" else texts
        return np.array(texts, dtype=object).reshape(-1, 1)
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values.astype(np.float32).reshape(-1, 1)
    numbers = [math.nan if _is_missing(value) else float(value) for value in values]
    return np.array(numbers, dtype=np.float32).reshape(-1, 1)


def _is_missing(value: Any) -> bool:
    return value is None or value != value or type(value).__name__ in ("NAType", "NaTType")
