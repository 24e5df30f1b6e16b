"""What tests of processes wait for, and for how long."""

import time
from collections.abc import Callable

import psutil

from pipelines.host import keeper
from pipelines.host.host import Host


def until(true: Callable[[], bool], within: float = 20.0) -> None:
    """Return once it is true, which must be within so many seconds."""
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def never(true: Callable[[], bool], during: float = 2.0) -> None:
    """Return after so many seconds in which it must not become true."""
    end = time.monotonic() + during
    while time.monotonic() < end:
        assert not true()
        time.sleep(0.02)


def runs(process: psutil.Process) -> bool:
    """Whether the process lives, and is not a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def edge_process(host: Host) -> int:
    """The process id of the edge, or 0. The supervisor's own child is its keeper."""
    return keeper.holder(host.folder / "edge" / "lock")


def child(host: Host, program: str) -> int:
    """The supervisor's own process that runs a program of its, or 0."""
    return int(host.supervisor._info(program).get("pid", 0))
