"""A command for each figure of docs/figures.md: `make bench`, or `make bench ONLY=pipeline`."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.pool import Pool
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.signals import Interrupted, interruptible
from pipelines.host.slots import launch


def run(main: Callable[[], Any]) -> None:
    """Run a benchmark and exit, with 130 or 143 after SIGINT or SIGTERM; no process that it started is left.

    What it sets up outside this process, such as a host, it takes down itself where Interrupted comes by.
    """
    mark = os.environ[launch.MARK] = f"benchmark {os.getpid()}"  # in all that it starts
    try:
        with interruptible():
            try:
                main()
            finally:
                launch.clear(mark)
    except Interrupted as reason:
        sys.exit(reason.exit_code)
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)


def workers(count: int) -> Pool:
    """Processes that work, ended where the `with` block is left. A terminal's Ctrl-C is not theirs."""
    return multiprocessing.get_context("spawn").Pool(count, signal.signal, (signal.SIGINT, signal.SIG_IGN))


def figure(name: str, value: float, unit: str, goal: str = "", ok: bool = True) -> None:
    """Print a measured figure in one line. A goal that is missed is not an error: machines differ."""
    print(f"{name:<44} {value:10.2f} {unit:<6} {goal:<8} {'ok' if ok else 'short'}", flush=True)
