"""Progress, on standard error, so that standard output stays a verb's result."""

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

LONGEST = 4096  # characters of a line that are remembered
_started = time.monotonic()


def step(text: str) -> None:
    """Print one line of progress with the seconds since the command began."""
    print(f"[{time.monotonic() - _started:5.1f} s] {text}", file=sys.stderr, flush=True)


def wide(most: int, least: int = 60) -> int:
    """How many columns a table may have: a terminal's own, within bounds; in a file or a log, `most`."""
    return max(least, min(most, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else most


def aligned(rows: Sequence[Sequence[str]], widest: int = LONGEST) -> list[str]:
    """A line a row, its cells in columns of at most `widest` characters."""
    widths = [min(widest, max(map(len, column))) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return ["  ".join(cells).rstrip() for cells in padded]


def harmless(line: str) -> str:
    """A line, or its beginning, that no runner takes for a command of its own (`::set-env ...`, `##[...]`). A
    runner looks past what is unseen before `::`, and anywhere for `##[`."""
    before = next((n for n, c in enumerate(line) if c.isprintable() and not c.isspace()), len(line))
    if line.startswith("::", before):
        line = f"{line[: before + 1]} {line[before + 1 :]}"
    return line.replace("##[", "## [")


class Through:
    """A stream of text with a `write` of its own; in all else the stream that it is given."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Harmless(Through):
    """A stream each of whose lines is made harmless."""

    _line = ""  # what the last line has so far

    def write(self, text: str) -> int:
        for part in re.split(r"([\r\n])", text):
            if part in ("\r", "\n"):
                self._stream.write(part)
                self._line = ""
            elif part:
                whole = self._line + part
                self._stream.write(harmless(whole)[len(harmless(self._line)) :])
                self._line = whole if len(whole) < LONGEST else "x" + whole[-2:]
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


@contextlib.contextmanager
def through(kind: type[Through]) -> Iterator[None]:
    """While the block runs, what this process prints goes through streams of this kind."""
    out, err = (cast(TextIO, kind(stream)) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def summary(text: str) -> None:
    """Add Markdown to the summary of a workflow's run, where there is one (GITHUB_STEP_SUMMARY)."""
    _append("GITHUB_STEP_SUMMARY", f"{text.rstrip()}\n\n")


def output(name: str, value: str) -> None:
    """Set an output of a workflow's step (GITHUB_OUTPUT), as one line: a second would set another output."""
    _append("GITHUB_OUTPUT", f"{name}={' '.join(value.splitlines())}\n")


def secret(text: str) -> None:
    """Have the runner show *** wherever this, or a line of it, is printed from now on."""
    if os.environ.get("GITHUB_ACTIONS") == "true" and sys.__stdout__:  # not through Harmless: it is a command
        for line in filter(str.strip, text.splitlines()):  # a command ends with its line
            print(f"::add-mask::{line.replace('%', '%25')}", file=sys.__stdout__, flush=True)


def later(**variables: str) -> None:
    """Set variables of the environment for the later steps of a workflow's job (GITHUB_ENV)."""
    for name, value in variables.items():
        _append("GITHUB_ENV", f"{name}={' '.join(value.splitlines())}\n")


def _append(variable: str, text: str) -> None:
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
