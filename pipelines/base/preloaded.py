"""A process that imports ahead of time what some commands need: each command then runs in a fork of it."""

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.base import console, programs

FORK = multiprocessing.get_context("fork")
FOLDER = "GREENLIGHT_PRELOADED"  # in the environment of commands: where the sockets of such processes are


@contextlib.contextmanager
def preloaded(socket_file: Path, main: str, ahead: Sequence[str]) -> Iterator[None]:
    """While the block runs, a process answers commands, which call `elsewhere`, at the socket: it imports
    `ahead`, and then calls `main` for each command. All are `module` or `module:function`, to be called. What
    cannot be imported is for the command to tell."""
    with socket.socket(socket.AF_UNIX) as listener:
        with contextlib.suppress(OSError):  # of a TMPDIR too long for a socket: commands run by themselves
            listener.bind(str(socket_file))
            listener.listen()
        process = programs.start(
            [sys.executable, "-m", "pipelines.base.preloaded", str(listener.fileno()), main, *ahead],
            env=programs.environment(own_code=True),
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,  # it ends with this process
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def elsewhere(name: str) -> int | None:
    """The exit code of this command once it ran in a fork of the process whose socket has that name, with
    its arguments, streams, folder and environment; it ends with this process. None where nobody answers."""
    if not (folder := os.environ.pop(FOLDER, None)):
        return None
    command = [sys.argv, str(Path.cwd()), programs.only(re.compile(".*"))]
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(f"{folder}/{name}")
            socket.send_fds(asked, [b" "], [0, 1, 2])
            asked.sendall(f"{json.dumps(command)}\n".encode())
            taken = asked.recv(1)
        except OSError:
            return None
        if not taken:
            return None
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the fork, which says so
        return int(asked.recv(4) or 1)


def _serve(listener: socket.socket, main: str, ahead: Sequence[str]) -> None:
    """Import `ahead`, and answer each command with a fork; ends with standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ahead:
        with contextlib.suppress(Exception, SystemExit):
            _call(name)
    gc.freeze()  # forks need not look through what is imported
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        asked, _ = listener.accept()
        FORK.Process(target=_answer, args=(asked, main)).start()
        asked.close()


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
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with, args=(asked,), daemon=True).start()
    console.begin()
    with programs.lent(environment):
        _call(main)


def _call(name: str) -> None:
    module, _, function = name.partition(":")
    found = importlib.import_module(module)
    if function:
        getattr(found, function)()


def _end_with(asked: socket.socket) -> None:
    asked.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], sys.argv[3:])
