"""What runs beside the chapter on the screen: what it says is kept until it is its turn to be shown."""

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TextIO, TypeVar, cast

from pipelines.base import programs
from pipelines.base.console import Through

Made = TypeVar("Made")
_own = threading.local()


class Aside(Generic[Made]):
    """A function that runs in a thread of its own, when `after` has ended well."""

    def __init__(self, function: Callable[[], Made], after: "Aside[Any] | None" = None) -> None:
        self._made: Future[Made] = Future()
        self._said: SimpleQueue[tuple[TextIO, str] | None] = SimpleQueue()  # None is its end
        threading.Thread(target=self._run, args=(function, after), daemon=True).start()

    def _run(self, function: Callable[[], Made], after: "Aside[Any] | None") -> None:
        _own.said = self._said
        try:
            if after is not None:
                after.made()
            self._made.set_result(function())
        except BaseException as error:  # it is raised where the result is asked for
            self._made.set_exception(error)
        self._said.put(None)

    def made(self) -> Made:
        """The result, as soon as there is one, without a word; raises what the function raised."""
        return self._made.result()

    def show(self) -> Made:
        """The same; prints, once, what the function has said and, until its end, what it says."""
        for stream, text in iter(self._said.get, None):
            stream.write(text)
        return self.made()


class Apart(Through):
    """A stream of text for all threads: what an Aside writes is kept by it (`console.through`)."""

    def write(self, text: str) -> int:
        said: SimpleQueue[Any] | None = getattr(_own, "said", None)
        said.put((self, text)) if said else self._stream.write(text)
        return len(text)


def run(command: Sequence[str], quiet: bool = True, **options: Any) -> int:
    """Run a program that says on standard error (also on output, if not `quiet`) what this thread says. Its
    exit code."""
    out, err = (subprocess.DEVNULL, subprocess.PIPE) if quiet else (subprocess.PIPE, subprocess.STDOUT)
    with programs.start(command, stdout=out, stderr=err, **options) as started:
        for line in cast(TextIO, started.stderr if quiet else started.stdout):
            sys.stderr.write(line)
    return started.returncode
