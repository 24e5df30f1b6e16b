"""Processes that import ahead of time what some commands need: each command then runs in a fork of one."""

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.base import console, programs

Chain = list[list[Any]]  # of processes: each the number of its socket's descriptor, and what it imports
FORK = multiprocessing.get_context("fork")
ADDRESS = "GREENLIGHT_PRELOADED_{}"  # the socket of the process in which a command of that name may run


@contextlib.contextmanager
def preloaded(main: str, processes: Mapping[tuple[str, ...], Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yields what to add to the environment of commands, which call `elsewhere` and then run `main`.

    `processes` says for which commands, by their names, each of them imports what, in that order, between two
    commands; one begins when the one before it has done so. `main` and what is imported are `module` or
    `module:function`, which is called. What cannot be imported is for the command to tell."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as sockets:
        there: dict[str, str] = {}
        chain: Chain = []
        for number, (names, ahead) in enumerate(processes.items()):
            listener = sockets.enter_context(socket.socket(socket.AF_UNIX))
            address = f"{folder}/{number}"
            with contextlib.suppress(
                OSError
            ):  # of a TMPDIR too long for a socket: commands run by themselves
                listener.bind(address)
                listener.listen()
            there |= {ADDRESS.format(name): address for name in names}
            chain.append([listener.fileno(), *ahead])
        process = _start(main, chain)
        try:
            yield there
        finally:
            process.kill()
            process.communicate()


def elsewhere(name: str) -> int | None:
    """The exit code of this command, once it has run in a fork with its arguments, streams, folder and
    environment, which ends with this process; None where no process waits for it."""
    if not (address := os.environ.pop(ADDRESS.format(name), None)):
        return None
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(address)
            socket.send_fds(asked, [b" "], [0, 1, 2])
            asked.sendall(json.dumps([sys.argv, str(Path.cwd()), dict(os.environ)]).encode() + b"\n")
            taken = asked.recv(1)
        except OSError:
            return None
        if not taken:
            return None
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the fork, which says so
        return int(asked.recv(4) or 1)


def _start(main: str, chain: Chain) -> "subprocess.Popen[str]":
    """The first process of the chain, which starts the next; each ends with who started it."""
    return programs.start(
        [sys.executable, "-m", "pipelines.base.preloaded", main, json.dumps(chain)],
        env=programs.environment(own_code=True),
        pass_fds=[descriptor for descriptor, *_ in chain],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _serve(main: str, listener: socket.socket, ahead: Sequence[str], then: Chain) -> None:
    """Import `ahead`, start the process that comes `then`, and answer each command with a fork; ends with
    standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    later: list[Callable[[], Any]] = [partial(call, name) for name in ahead]
    later += [partial(_start, main, then)] if then else []
    held = []  # the process started, and with it its standard input
    while True:
        ready, *_ = select.select([listener, sys.stdin], [], [], 0 if later else None)
        if sys.stdin in ready:
            return
        if listener in ready:
            asked, _ = listener.accept()
            gc.freeze()  # what is imported by now, which forks need not look through
            FORK.Process(target=_answer, args=(asked, main)).start()
            asked.close()
        elif later:
            with contextlib.suppress(Exception, SystemExit):
                held.append(later.pop(0)())


def _answer(asked: socket.socket, main: str) -> None:
    """Run the command in a child of this fork, and tell its exit code however it ends."""
    _, streams, *_ = socket.recv_fds(asked, 1, 3)
    child = FORK.Process(target=_run, args=(asked, streams, main))
    child.start()
    child.join()
    code = child.exitcode or 0
    with contextlib.suppress(OSError):  # nobody waits any more
        asked.sendall(str(code if code >= 0 else 128 - code).encode())


def _run(asked: socket.socket, streams: Sequence[int], main: str) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (multiprocessing has taken it away)
    with asked.makefile(encoding="utf-8") as lines:
        sys.argv, folder, environment = json.loads(lines.readline())
    asked.sendall(b" ")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with, args=(asked,), daemon=True).start()
    console.begin()
    call(main)


def _end_with(asked: socket.socket) -> None:
    asked.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def call(name: str) -> None:
    """Import `module`, or call what `module:function` names."""
    module, _, function = name.partition(":")
    found = importlib.import_module(module)
    if function:
        getattr(found, function)()


if __name__ == "__main__":
    (descriptor, *ahead), *then = json.loads(sys.argv[2])
    _serve(sys.argv[1], socket.socket(fileno=descriptor), ahead, then)
