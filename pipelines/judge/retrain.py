"""The candidate made once more, by the judge: the base's code, the proposal's params.yaml. Its settings may
take any time and memory, so the training has a process of its own, with bounds. `answers` is that process."""

import contextlib
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.artifacts.model import Description
from pipelines.artifacts.reference import Reference
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import write_bytes
from pipelines.core.model import Model
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.judge import beside, contained
from pipelines.training import table, train, verify

MEMORY_BYTES = 8 << 30  # of address space
PATIENCE_SECONDS = 1200  # in all: the job that judges has 1800
LARGEST_BYTES = 1 << 30  # of an answer
MADE, REFUSED = b"m", b"r"
FIT, SHUFFLED, REFERENCE = b"fit", b"shuffled", b"reference"


@dataclass(frozen=True)
class Retrained:
    """What the base's code makes of the proposal's params.yaml and of the source's rows. Whatever trains
    raises contained.Ended where the bounds do not suffice, and Refused as `again`."""

    params: Params
    rows: pd.DataFrame  # of prepared.parquet
    problem: Problem
    content: bytes
    trainers: "Trainers" = field(repr=False)

    @cached_property
    def model(self) -> Model:
        with tempfile.TemporaryDirectory() as folder:
            return Model(write_bytes(Path(folder) / "model.onnx", self.content), self.problem.task)

    @cached_property
    def card(self) -> Description:
        """What model.json must say of it."""
        trained = table.training(self.params, self.rows, self.problem.contract)
        return train.describe(self.params, trained, 0.0, self.problem.contract)

    def beside(self, model: Model) -> dict[str, Any]:
        """What ships beside the candidate's `model`, by the name of each file."""
        past = Reference.parse(self.trainers[1].ask(REFERENCE))
        return beside.of(self.params, self.rows, model, past, self.problem.contract)

    def repeats_itself(self) -> bool:
        """Whether the same training gives the same model once more."""
        return self.trainers[0].ask(FIT) == self.content

    def of_shuffled_outcomes(self) -> float:
        """What `Task.knows` says of a model of shuffled outcomes on the test window."""
        return float(self.trainers[0].ask(SHUFFLED))


def again(params: Params, rows: pd.DataFrame, problem: Problem, trainers: "Trainers") -> Retrained:
    """The model of the proposal's params. UserError or Refused where the base's code cannot make one,
    contained.Ended where it takes too much."""
    table.training(params, rows, problem.contract)
    return Retrained(params, rows, problem, trainers[0].ask(FIT), trainers)


def start(params: Params, rows: pd.DataFrame, raw: pd.DataFrame, problem: Problem) -> "Trainers":
    """Have it all made from now on, while the judge does something else: what the candidate is, and what
    ships beside it, each on a processor."""
    given = pickle.dumps((params, rows, raw, problem), protocol=5)
    return Trainer(given, FIT, SHUFFLED), Trainer(given, REFERENCE)


class Trainer:
    """A process that trains: what `given` says, pickled, is asked at once, the rest when it is needed."""

    def __init__(self, given: bytes, *asked: bytes) -> None:
        processor = PATIENCE_SECONDS * (os.cpu_count() or 1)  # a training has as many threads
        self._process = contained.Process("pipelines.judge.retrain", MEMORY_BYTES, processor)
        self._until = time.monotonic() + PATIENCE_SECONDS
        self._asked, self._had = list(asked), dict[bytes, tuple[bytes, bytes]]()
        self._sending = threading.Thread(target=_send, args=(self._process, given, *asked), daemon=True)
        self._sending.start()

    def ask(self, what: bytes) -> bytes:
        """Ended where it takes more than the bounds, all that was asked before included."""
        if what not in (*self._asked, *self._had):
            self._sending.join()
            self._process.ask(what)
            self._asked.append(what)
        try:
            while what not in self._had:
                found = self._process.listen(LARGEST_BYTES, max(0.0, self._until - time.monotonic()))
                self._had[self._asked.pop(0)] = found
        except contained.Ended:
            if time.monotonic() < self._until:
                raise
            raise contained.Ended(f"it takes more than {PATIENCE_SECONDS:.0f} s") from None
        kind, said = self._had.pop(what)
        if kind != MADE:
            raise Refused(said.decode("utf-8", "replace"))
        return said


Trainers = tuple[Trainer, Trainer]


def _send(process: contained.Process, *parts: bytes) -> None:
    """It takes them once it has started; where it has ended, whoever listens hears of it."""
    with contextlib.suppress(contained.Ended):
        for part in parts:
            process.ask(part)


def answers(questions: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """What is asked for, made of the rows that come first."""
    params, rows, raw, problem = pickle.loads(next(questions))  # the judge's own
    for what in questions:
        try:
            if what == FIT:
                yield MADE, train.fit(params, rows, problem)
            elif what == SHUFFLED:
                yield MADE, repr(verify.of_shuffled_outcomes(params, raw, problem)).encode()
            else:
                past = beside.of_the_past(params, rows, problem)
                yield MADE, past.model_dump_json(by_alias=True).encode()
        except MemoryError:
            raise
        except (UserError, Refused) as error:
            yield REFUSED, str(error).encode("utf-8", "replace")[:2000]
        except Exception as error:  # whatever an estimator says of settings that nobody tried
            yield REFUSED, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:2000]
