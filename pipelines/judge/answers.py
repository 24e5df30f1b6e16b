"""A stranger's model, asked in a process of its own with bounds on memory and time. What comes back is
numbers, read as numbers: nothing of it is unpickled. `answers` is that process."""

import math
import pickle
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines.base.errors import Refused
from pipelines.core.model import Inputs, Model
from pipelines.core.tasks.task import Task
from pipelines.judge import contained

MEMORY_BYTES = 4 << 30  # of address space
PATIENCE_SECONDS = 120.0  # for one answer, however many rows
PROCESSOR_SECONDS = 900  # in all
OPENED, ANSWERED, FAILED = b"o", b"a", b"f"
ROWS = 300  # requests of one row that are timed, to each model in turn
TRIES = 3


class Contained(Model):
    """A model that runs in a process of its own; asked as any other. Refused where it cannot be opened."""

    def __init__(self, path: Path, task: Task) -> None:
        words = (MEMORY_BYTES, PROCESSOR_SECONDS, str(path.resolve()))
        self._process = contained.Process("pipelines.judge.answers", *words)
        self.task = task
        self.seconds = 0.0  # that the last answer took, by the process's own clock
        kind, said = self._listen(1 << 20, pickle.dumps(task))
        if kind != OPENED:
            raise Refused(said.decode("utf-8", "replace"))
        self.inputs = tuple(said.decode("utf-8", "replace").split("\0")) if said else ()

    def predict(self, inputs: Inputs) -> np.ndarray:
        """As `Model.predict`. Refused where it gives no answers within the bounds."""
        asked = pickle.dumps({name: inputs[name] for name in self.inputs}, protocol=5)
        rows = max((len(values) for values in inputs.values()), default=0)
        each = 8 * math.prod(self.task.shape)  # bytes
        kind, said = self._listen(4 * rows * each + 8192, asked)
        if kind != ANSWERED or not said or (len(said) - 8) % each:
            raise Refused(said.decode("utf-8", "replace"))
        self.seconds, *_ = struct.unpack("<d", said[:8])
        return np.frombuffer(said[8:], dtype=np.float64).reshape(-1, *self.task.shape)

    def _listen(self, most: int, asked: bytes) -> tuple[bytes, bytes]:
        self._process.ask(asked)
        return self._process.listen(most, PATIENCE_SECONDS)


Timed = tuple[Path, Inputs]  # a model's file, and rows to ask it


def timed(candidate: Timed, champion: Timed, limit: float, task: Task) -> tuple[float, float]:
    """Median seconds of a request of one row, to the candidate and to the champion. Noise can slow one
    process for its whole life: where the candidate takes more than `limit` times the champion's, both are
    timed twice more, in new processes, and the median ratio counts. Refused where a model does not answer."""
    found = [_in_turn(task, candidate, champion)]
    if found[0][0] / found[0][1] > limit:
        found += [_in_turn(task, candidate, champion) for _ in range(TRIES - 1)]
    return sorted(found, key=lambda seconds: seconds[0] / seconds[1])[len(found) // 2]


def _in_turn(task: Task, *timed: Timed) -> tuple[float, float]:
    """By the clocks of the processes, each asked twice and timed once: one that slept is slow at first."""
    models = [(Contained(path, task), inputs) for path, inputs in timed]
    taken: list[list[float]] = [[] for _ in models]
    for row in range(min(ROWS, *(len(values) for _, inputs in models for values in inputs.values()))):
        for seconds, (model, inputs) in zip(taken, models, strict=True):
            for _ in range(2):
                model.predict({name: values[row : row + 1] for name, values in inputs.items()})
            seconds.append(model.seconds)
    candidate, champion = (float(np.median(seconds)) for seconds in taken)
    return candidate, champion


def answers(questions: Iterator[bytes], path: str) -> Iterator[tuple[bytes, bytes]]:
    """The model's inputs, then its answer to each question, which is the judge's own, as the task is."""
    try:
        model = Model(path, pickle.loads(next(questions)))
    except Exception as error:
        yield FAILED, str(error).encode("utf-8", "replace")[:2000]
        return
    yield OPENED, "\0".join(model.inputs).encode("utf-8", "replace")
    for question in questions:
        asked, started = pickle.loads(question), time.perf_counter()
        try:
            p = np.ascontiguousarray(model.predict(asked), dtype=np.float64)
            yield ANSWERED, struct.pack("<d", time.perf_counter() - started) + p.tobytes()
        except Exception as error:  # onnxruntime's; IndexError or ValueError where the outputs are others
            yield FAILED, str(error).encode("utf-8", "replace")[:2000]
