"""A stranger's model, asked in a process of its own with bounds on memory and time.

The bounds are the process's: a model that takes more ends it, and the judge says so. What comes back is
numbers, read as numbers: nothing of it is unpickled. Run as a program, this module is that process.
"""

import contextlib
import os
import pickle
import resource
import selectors
import struct
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipelines.base import programs
from pipelines.model import Inputs, Model

MEMORY = 4 << 30  # bytes of address space
PATIENCE = 120.0  # seconds for one answer, however many rows
PROCESSOR = 900  # seconds in all
HEAD = struct.Struct("<cQ")  # the kind of an answer, and its length in bytes
OPENED, ANSWERED, FAILED = b"o", b"a", b"f"


class Failed(Exception):
    """Why a model does not answer."""


class Contained(Model):
    """A model that runs in a process of its own; asked as any other."""

    def __init__(self, path: Path) -> None:
        """Start the process and have it open the model. Failed where it cannot."""
        process: Any = programs.start(
            [sys.executable, "-P", "-m", "pipelines.judge.answers", path.resolve()],
            env=programs.environment(own_code=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=False,
            errors=None,
            bufsize=0,
        )
        self._asked, self._answers = process.stdin, process.stdout
        self._end = weakref.finalize(self, _end, process)
        self.seconds = 0.0  # that the last answer took, by the process's own clock
        kind, said = self._listen(1 << 20)
        if kind != OPENED:
            raise Failed(said.decode("utf-8", "replace"))
        self.inputs = tuple(said.decode("utf-8", "replace").split("\0")) if said else ()

    def predict(self, inputs: Inputs) -> np.ndarray:
        """P(label) as `Model.predict`. Failed where it gives none within the bounds."""
        asked = pickle.dumps({name: inputs[name] for name in self.inputs}, protocol=5)
        rows = max((len(values) for values in inputs.values()), default=0)
        try:
            self._asked.write(struct.pack("<Q", len(asked)) + asked)
        except OSError:
            raise Failed(self._gone()) from None
        kind, said = self._listen(8 * (4 * rows + 1024))
        if kind != ANSWERED or len(said) % 8 or not said:
            raise Failed(said.decode("utf-8", "replace"))
        self.seconds, *_ = struct.unpack("<d", said[:8])
        return np.frombuffer(said[8:], dtype=np.float64)

    def _listen(self, most: int) -> tuple[bytes, bytes]:
        until = time.monotonic() + PATIENCE
        kind, length = HEAD.unpack(self._read(HEAD.size, until))
        if length > most:
            self._end()
            raise Failed(f"it gives {length:,} bytes, and {most:,} is the most")
        return kind, self._read(length, until)

    def _read(self, length: int, until: float) -> bytes:
        found = bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(self._answers, selectors.EVENT_READ)
            while len(found) < length:
                if not ready.select(max(0.0, until - time.monotonic())):
                    self._end()
                    raise Failed(f"it has not answered within {PATIENCE:.0f} s")
                part = os.read(self._answers.fileno(), min(1 << 20, length - len(found)))
                if not part:
                    raise Failed(self._gone())
                found += part
        return bytes(found)

    def _gone(self) -> str:
        return f"the process that asks it has ended: it may take {MEMORY >> 30} GiB and {PROCESSOR} s"


def _end(process: Any) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()


# --- the process -------------------------------------------------------------------------------------------


def _bound() -> None:
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, PROCESSOR),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),  # it writes no file
    ):
        _, hard = resource.getrlimit(what)
        with contextlib.suppress(ValueError, OSError):  # a system without that bound
            resource.setrlimit(what, (most if hard < 0 else min(most, hard), hard))


def _answer(model: Model, asked: Inputs) -> tuple[bytes, bytes]:
    try:
        started = time.perf_counter()
        p = np.ascontiguousarray(model.predict(asked), dtype=np.float64)
        return ANSWERED, struct.pack("<d", time.perf_counter() - started) + p.tobytes()
    except Exception as error:  # onnxruntime's classes; IndexError or ValueError where the outputs are others
        return FAILED, str(error).encode("utf-8", "replace")[:2000]


def _say(out: IO[bytes], kind: bytes, said: bytes) -> None:
    out.write(HEAD.pack(kind, len(said)) + said)
    out.flush()


def main(path: str) -> None:
    """Open the model, say its inputs, and answer what comes until nothing more does."""
    _bound()
    asked, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        model = Model(path)
    except Exception as error:
        _say(out, FAILED, str(error).encode("utf-8", "replace")[:2000])
        return
    _say(out, OPENED, "\0".join(model.inputs).encode("utf-8", "replace"))
    while len(head := asked.read(8)) == 8:
        inputs = pickle.loads(asked.read(struct.unpack("<Q", head)[0]))  # the judge's own
        _say(out, *_answer(model, inputs))


if __name__ == "__main__":
    main(sys.argv[1])
