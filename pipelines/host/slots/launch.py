"""Become a slot's server, after ending what an earlier one left behind. Runs alone, from the host's folder.

A SIGKILL of `bentoml serve` leaves its worker, in a process group of its own, serving on the port. All of a
slot's processes inherit one environment variable, so they are found by exactly that.
"""

import contextlib
import os
import sys
import time

import psutil

MARK = "GREENLIGHT_MARK"


def leftovers(mark: str, variable: str = MARK) -> list[psutil.Process]:
    """The living processes that were started with this mark, except the caller."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # gone, a zombie, or another user's
            if process.pid != os.getpid() and process.environ().get(variable) == mark:
                found.append(process)
    return found


def end(mark: str, grace: float) -> None:
    """Ask what carries the mark to end, as its supervisor would; kill what is left after `grace` seconds."""
    found = leftovers(mark)
    pids = {process.pid for process in found}
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() not in pids:  # a server ends its workers itself
                process.terminate()
    psutil.wait_procs(found, timeout=grace)
    clear(mark)


def clear(mark: str, within: float = 10.0, variable: str = MARK) -> None:
    """Kill what carries the mark, and what that starts meanwhile, until it is gone."""
    until = time.monotonic() + within
    # Asked for again, not waited for: nobody may be there to bury them, and the dead have no environment.
    while (found := leftovers(mark, variable)) and time.monotonic() < until:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)


if __name__ == "__main__":
    clear(os.environ[MARK])
    os.execv(sys.argv[1], sys.argv[1:])
