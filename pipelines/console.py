"""Progress, on standard error, so that standard output stays a verb's result."""

import os
import sys
import time
from pathlib import Path

_started = time.monotonic()


def step(text: str) -> None:
    """Print one line of progress with the seconds since the command began."""
    print(f"[{time.monotonic() - _started:5.1f} s] {text}", file=sys.stderr, flush=True)


def summary(text: str) -> None:
    """Add Markdown to the summary of a workflow's run, where there is one (GITHUB_STEP_SUMMARY)."""
    _append("GITHUB_STEP_SUMMARY", f"{text.rstrip()}\n\n")


def output(name: str, value: str) -> None:
    """Set an output of a workflow's step, where there is one (GITHUB_OUTPUT)."""
    _append("GITHUB_OUTPUT", f"{name}={value}\n")


def _append(variable: str, text: str) -> None:
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
