"""A stranger's model, asked in a process of its own with bounds on memory and time.

The bounds are the process's: a model that takes more ends it, and the judge says so. What comes back is
numbers, read as numbers: nothing of it is unpickled. Run as a program, this module is that process.
"""

import pickle
import struct
import sys
import time
from pathlib import Path

import numpy as np

from pipelines.core.model import Inputs, Model
from pipelines.judge import contained

MEMORY_BYTES = 4 << 30  # of address space
PATIENCE_SECONDS = 120.0  # for one answer, however many rows
PROCESSOR_SECONDS = 900  # in all
OPENED, ANSWERED, FAILED = b"o", b"a", b"f"


class Failed(Exception):
    """Why a model does not answer."""


class Contained(Model):
    """A model that runs in a process of its own; asked as any other."""

    def __init__(self, path: Path) -> None:
        """Start the process and have it open the model. Failed where it cannot."""
        bounds = contained.Bounds(MEMORY_BYTES, PROCESSOR_SECONDS)
        self._process = contained.Process("pipelines.judge.answers", bounds, str(path.resolve()))
        self.seconds = 0.0  # that the last answer took, by the process's own clock
        kind, said = self._listen(1 << 20)
        if kind != OPENED:
            raise Failed(said.decode("utf-8", "replace"))
        self.inputs = tuple(said.decode("utf-8", "replace").split("\0")) if said else ()

    def predict(self, inputs: Inputs) -> np.ndarray:
        """P(label) as `Model.predict`. Failed where it gives none within the bounds."""
        asked = pickle.dumps({name: inputs[name] for name in self.inputs}, protocol=5)
        rows = max((len(values) for values in inputs.values()), default=0)
        kind, said = self._listen(8 * (4 * rows + 1024), asked)
        if kind != ANSWERED or len(said) % 8 or not said:
            raise Failed(said.decode("utf-8", "replace"))
        self.seconds, *_ = struct.unpack("<d", said[:8])
        return np.frombuffer(said[8:], dtype=np.float64)

    def _listen(self, most: int, asked: bytes | None = None) -> tuple[bytes, bytes]:
        try:
            if asked is not None:
                self._process.ask(asked)
            return self._process.listen(most, PATIENCE_SECONDS)
        except contained.Ended as error:
            raise Failed(str(error)) from None


# --- the process -------------------------------------------------------------------------------------------


def _answer(model: Model, asked: Inputs) -> tuple[bytes, bytes]:
    try:
        started = time.perf_counter()
        p = np.ascontiguousarray(model.predict(asked), dtype=np.float64)
        return ANSWERED, struct.pack("<d", time.perf_counter() - started) + p.tobytes()
    except Exception as error:  # onnxruntime's classes; IndexError or ValueError where the outputs are others
        return FAILED, str(error).encode("utf-8", "replace")[:2000]


def main(memory: str, processor: str, path: str) -> None:
    """Open the model, say its inputs, and answer what comes until nothing more does."""
    contained.bound(int(memory), int(processor))
    asked, out = contained.streams()
    try:
        model = Model(path)
    except Exception as error:
        contained.say(out, FAILED, str(error).encode("utf-8", "replace")[:2000])
        return
    contained.say(out, OPENED, "\0".join(model.inputs).encode("utf-8", "replace"))
    for question in contained.questions(asked):
        contained.say(out, *_answer(model, pickle.loads(question)))  # the judge's own


if __name__ == "__main__":
    main(*sys.argv[1:])
