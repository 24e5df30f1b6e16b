"""A process of its own, with bounds on memory and time, that answers what the judge asks it.

The bounds are the process's: what takes more ends it, and the judge says so. What comes back is bytes of a
kind, of no more than was asked for.
"""

import contextlib
import os
import resource
import selectors
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from pipelines.base import programs

HEAD = struct.Struct("<cQ")  # the kind of an answer, and its length in bytes
LENGTH = struct.Struct("<Q")


class Ended(Exception):
    """Why nothing more comes of the process."""


@dataclass(frozen=True)
class Bounds:
    """`memory`: bytes of address space; `processor`: seconds of all its threads together."""

    memory: int
    processor: int


class Process:
    """Started with this object, killed with it."""

    def __init__(self, module: str, bounds: Bounds, *arguments: str) -> None:
        """Run `module` of this code, whose `main` takes the bounds and the arguments as words."""
        process: Any = programs.start(
            [
                *(sys.executable, "-P", "-m", module),
                *(str(bounds.memory), str(bounds.processor), *arguments),
            ],
            env=programs.environment(own_code=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=False,
            errors=None,
            bufsize=0,
        )
        self._bounds = bounds
        self._asked, self._answers = process.stdin, process.stdout
        self._end = weakref.finalize(self, _end, process)

    def ask(self, what: bytes) -> None:
        """Ended where it takes nothing more."""
        try:
            for part in (LENGTH.pack(len(what)), what):
                view = memoryview(part)
                while view:
                    view = view[self._asked.write(view) :]
        except OSError:
            raise Ended(self._gone()) from None

    def listen(self, most: int, patience: float) -> tuple[bytes, bytes]:
        """Kind and content of the next answer, which has at most so many bytes. Ended where none comes within
        `patience` seconds, or the bounds."""
        until = time.monotonic() + patience
        kind, length = HEAD.unpack(self._read(HEAD.size, until, patience))
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
        memory, seconds = self._bounds.memory / (1 << 30), self._bounds.processor
        return f"its process has ended: it may take {memory:.3g} GiB and {seconds} s of processor time"


def _end(process: Any) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()


# --- the process -------------------------------------------------------------------------------------------


def bound(memory: int, processor: int) -> None:
    """Hold this process to its bounds; it writes no file."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hard = resource.getrlimit(what)
        with contextlib.suppress(ValueError, OSError):  # a system without that bound
            resource.setrlimit(what, (most if hard < 0 else min(most, hard), hard))


def streams() -> tuple[IO[bytes], IO[bytes]]:
    """Where questions come from and answers go; what a library prints is not an answer."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, out


def say(out: IO[bytes], kind: bytes, said: bytes) -> None:
    out.write(HEAD.pack(kind, len(said)) + said)
    out.flush()


def questions(asked: IO[bytes]) -> Iterator[bytes]:
    """What comes until nothing more does."""
    while len(head := asked.read(LENGTH.size)) == LENGTH.size:
        yield asked.read(LENGTH.unpack(head)[0])
