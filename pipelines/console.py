"""Progress, on standard error, so that standard output stays a verb's result."""

import sys
import time

_started = time.monotonic()


def step(text: str) -> None:
    """Print one line of progress with the seconds since the command began."""
    print(f"[{time.monotonic() - _started:5.1f} s] {text}", file=sys.stderr, flush=True)
