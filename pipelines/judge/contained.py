"""A process of its own, with bounds on memory and time, that answers what the judge asks it: what takes more
ends it, and the judge says so. What comes back is bytes of a kind, of no more than was asked for."""

import contextlib
import importlib
import os
import resource
import selectors
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from typing import Any

from pipelines.base import programs
from pipelines.base.errors import Refused

HEAD = struct.Struct("<cQ")  # the kind of an answer, and its length in bytes
LENGTH = struct.Struct("<Q")
NO_ROOM = b"!"  # the kind of the last answer of a process that may take no more memory


class Ended(Refused):
    """Why nothing more comes of the process."""


class Process:
    """Started with this object, killed with it: `answers` of a module of this code. `memory` is in bytes,
    `processor` in seconds of all threads together."""

    def __init__(self, module: str, memory: int, processor: int, *arguments: str) -> None:
        words = (module, str(memory), str(processor), *arguments)
        process: Any = programs.start(
            [sys.executable, "-P", "-m", "pipelines.judge.contained", *words],
            env=programs.environment(own_code=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=False,
            errors=None,
            bufsize=0,
        )
        self._bounds = f"{memory / (1 << 30):.3g} GiB", f"{processor} s of processor time"
        self._asked, self._answers = process.stdin, process.stdout
        self._end = weakref.finalize(self, _end, process)

    def ask(self, what: bytes) -> None:
        """Ended where it takes nothing more."""
        try:
            for part in (LENGTH.pack(len(what)), what):
                _write(self._asked, part)
        except OSError:
            raise Ended(self._gone()) from None

    def listen(self, most: int, patience: float) -> tuple[bytes, bytes]:
        """Kind and content of the next answer, which has at most so many bytes. Ended where none comes within
        `patience` seconds, or the bounds."""
        until = time.monotonic() + patience
        kind, length = HEAD.unpack(self._read(HEAD.size, until, patience))
        if kind == NO_ROOM:
            raise Ended(f"it takes more than {self._bounds[0]}")
        if length > most:
            self._end()
            raise Ended(f"it gives {length:,} bytes, and {most:,} is the most")
        return kind, self._read(length, until, patience)

    def _read(self, length: int, until: float, patience: float) -> bytes:
        found = bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(self._answers, selectors.EVENT_READ)
            while len(found) < length:
                if not ready.select(max(0.0, until - time.monotonic())):
                    self._end()
                    raise Ended(f"it has not answered within {patience:.0f} s")
                part = os.read(self._answers.fileno(), min(1 << 20, length - len(found)))
                if not part:
                    raise Ended(self._gone())
                found += part
        return bytes(found)

    def _gone(self) -> str:
        return f"its process has ended: it may take {' and '.join(self._bounds)}"


def _write(to: Any, what: bytes) -> None:
    """All of it, without a buffer: a copy may be too much."""
    view = memoryview(what)
    while view:
        view = view[to.write(view) :]


def _end(process: Any) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()


def main(module: str, memory: str, processor: str, *words: str) -> None:
    """Be the process: within the bounds, say what `answers` of `module` makes of the questions and the words,
    each a kind and a content. It writes no file."""
    answers = importlib.import_module(module).answers
    bounds = {resource.RLIMIT_AS: int(memory), resource.RLIMIT_CPU: int(processor)}
    for what, most in {**bounds, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}.items():
        _, hard = resource.getrlimit(what)
        with contextlib.suppress(ValueError, OSError):  # a system without that bound
            resource.setrlimit(what, (most if hard < 0 else min(most, hard), hard))
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is not an answer
    try:
        for kind, said in answers(_questions(), *words):
            for part in (HEAD.pack(kind, len(said)), said):
                _write(out, part)
    except MemoryError:
        _write(out, HEAD.pack(NO_ROOM, 0))


def _questions() -> Iterator[bytes]:
    """What comes until nothing more does."""
    asked = sys.stdin.buffer
    while len(head := asked.read(LENGTH.size)) == LENGTH.size:
        yield asked.read(LENGTH.unpack(head)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
