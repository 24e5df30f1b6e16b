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
    """Add Markdown to the workflow run's summary, where there is one (GITHUB_STEP_SUMMARY)."""
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{text.rstrip()}\n\n")
