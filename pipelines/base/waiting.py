"""Waiting for what other processes do."""

import time
from collections.abc import Callable


def until(true: Callable[[], bool], within: float, pause: float = 0.05) -> bool:
    """Whether it comes true within so many seconds; it is asked at least once, then after each `pause`."""
    end = time.monotonic() + within
    while not (came := true()) and time.monotonic() <= end:
        time.sleep(pause)
    return came
