"""What runs beside the chapter on the screen: what it says is kept until it is its turn to be shown."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TextIO, TypeVar, cast

from pipelines.base import programs

Made = TypeVar("Made")
_own = threading.local()


class Aside(Generic[Made]):
    """A function that runs in a thread of its own, when `after` has ended well."""

    def __init__(self, function: Callable[[], Made], after: "Aside[Any] | None" = None) -> None:
        self._made: Future[Made] = Future()
        self._said: list[tuple[TextIO, str]] = []
        self._shown, self._lock = False, threading.Lock()
        threading.Thread(target=self._run, args=(function, after), daemon=True).start()

    def _run(self, function: Callable[[], Made], after: "Aside[Any] | None") -> None:
        _own.aside = self
        try:
            if after is not None:
                after.made()
            self._made.set_result(function())
        except BaseException as error:  # it is raised where the result is asked for
            self._made.set_exception(error)

    def made(self) -> Made:
        """The result, as soon as there is one, without a word; raises what the function raised."""
        return self._made.result()

    def show(self) -> Made:
        """The same; prints what the function has said and, until its end, what it says."""
        outer: Aside[Any] | None = getattr(_own, "aside", None)
        with self._lock:
            for stream, text in self._said:
                outer.write(stream, text) if outer else stream.write(text)
            self._said, self._shown = [], outer is None
        found = self.made()
        if outer:
            for stream, text in self._said:
                outer.write(stream, text)
        return found

    def write(self, stream: TextIO, text: str) -> None:
        with self._lock:
            stream.write(text) if self._shown else self._said.append((stream, text))


class _Apart:
    """A stream of text for all threads: what an Aside writes is kept by it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        own = getattr(_own, "aside", None)
        own.write(self._stream, text) if own else self._stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """While the block runs, what is printed beside is kept."""
    out, err = (cast(TextIO, _Apart(stream)) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def run(command: Sequence[str], quiet: bool = True, **options: Any) -> int:
    """Run a program that says on standard error (also on output, if not `quiet`) what this thread says. Its
    exit code."""
    out, err = (subprocess.DEVNULL, subprocess.PIPE) if quiet else (subprocess.PIPE, subprocess.STDOUT)
    with programs.start(command, stdout=out, stderr=err, **options) as started:
        for line in cast(TextIO, started.stderr if quiet else started.stdout):
            sys.stderr.write(line)
    return started.returncode
