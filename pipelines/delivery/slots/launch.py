"""Become a slot's server, after ending what an earlier one left behind. Runs alone, from the host's folder.

A SIGKILL of `bentoml serve` leaves its worker, in a process group of its own, serving on the port. All of a
slot's processes inherit one environment variable, so they are found by exactly that.
"""

import os
import sys

import psutil

MARK = "GREENLIGHT_MARK"


def leftovers(mark: str) -> list[psutil.Process]:
    """The living processes that were started with this mark, except the caller."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:  # gone, a zombie, or another user's
            continue
    return found


def clear(mark: str) -> int:
    """Kill what carries the mark and wait until it is gone; returns how many there were."""
    found = leftovers(mark)
    for process in found:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(found, timeout=10)
    return len(found)


if __name__ == "__main__":
    clear(os.environ[MARK])
    os.execv(sys.argv[1], sys.argv[1:])
