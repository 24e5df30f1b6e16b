"""Ask several things beside each other, for a bounded time: what says nothing then is unknown."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipelines.base.errors import Refused, UserError, one_line
from pipelines.core.room import mistake
from pipelines.setup.check import Check, State

SECONDS = 20.0
LONGEST = 400  # characters of why something could not be asked

Answer = Check | list[Check]


def unknown(group: str, what: str, way_out: str = "", matters: bool = True) -> Check:
    """What is shown of a thing that could not be asked; `way_out` says how it can be."""
    return Check(group, what, State.UNKNOWN, "", way_out, matters)


def beside(asked: Sequence[tuple[Check, Callable[[], Answer]]], within: float | None = None) -> list[Check]:
    """The answers in this order. Where one is not there after `within` seconds, else SECONDS, or asking fails
    in any way, the check that stands before it says why."""
    within = SECONDS if within is None else within
    found: dict[int, list[Check]] = {}

    def ask(number: int, otherwise: Check, question: Callable[[], Answer]) -> None:
        try:
            answer = question()
            found[number] = answer if isinstance(answer, list) else [answer]
        except Exception as error:
            found[number] = [replace(otherwise, says=_why(error))]

    # not a pool's: Python waits for those at its end, also for one that hangs
    threads = [
        threading.Thread(target=ask, args=(number, *each), name=f"ask: {each[0].what}", daemon=True)
        for number, each in enumerate(asked)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + within
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = f"no answer within {within:g} s"
    answers = (found.get(n, [replace(each[0], says=late)]) for n, each in enumerate(asked))
    return [check for answer in answers for check in answer]


def _why(error: Exception) -> str:
    if isinstance(error, UserError | Refused):
        return one_line(error, LONGEST)
    return mistake(error) or f"a bug: {type(error).__name__}: {one_line(error)}"
