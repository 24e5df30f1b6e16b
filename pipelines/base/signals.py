"""SIGINT and SIGTERM as an exception, raised where the work can be left, and once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_pending: list[int] = []
_finishing = 0


class Interrupted(BaseException):
    """A person or a supervisor wants the process to end; no `except Exception` may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM raises Interrupted; more of them change nothing, nor does
    a block within the block."""
    main = threading.current_thread() is threading.main_thread()  # signals are its
    if not main or signal.getsignal(signal.SIGTERM) is _raise:
        yield
        return
    before = {number: signal.signal(number, _raise) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        _pending.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def finishing() -> Iterator[None]:
    """Within the block a signal waits: what has begun is brought to its end. For blocks of a few seconds."""
    global _finishing
    _finishing += 1
    waited = bool(_pending)
    try:
        yield
    finally:
        _finishing -= 1
    if _pending and not waited and not _finishing:
        raise Interrupted(_pending[0])


def _raise(number: int, frame: FrameType | None) -> None:
    first = not _pending
    _pending.append(number)
    if first and not _finishing:
        raise Interrupted(number)
