"""A process that imports ahead of time what some commands need: each command then runs in a fork of it."""

import contextlib
import gc
import importlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.base import console, programs

FOLDER = "GREENLIGHT_PRELOADED"  # in the environment of commands: where the sockets of such processes are

# What a command's environment may have besides the process's: from DVC, and from the shell that it uses.
ADDED = re.compile(r"DVC_\w+|PWD|OLDPWD|SHLVL|_")


@contextlib.contextmanager
def preloaded(socket_file: Path, main: str, ahead: Sequence[str]) -> Iterator[None]:
    """While the block runs, a process answers commands, which call `elsewhere`, at the socket: it imports
    `ahead`, and then calls `main` for each command. All are `module` or `module:function`, to be called. What
    cannot be imported is for the command to tell."""
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(socket_file))
        except OSError:  # of a TMPDIR too long for a socket: commands run by themselves
            yield
            return
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
    its arguments, streams, folder and environment; the fork ends with this process. None where nobody
    answers, or only a process of its own would do."""
    if not (folder := os.environ.pop(FOLDER, None)):
        return None
    command = [sys.argv, str(Path.cwd()), programs.only(re.compile(".*"))]
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(f"{folder}/{name}")
            socket.send_fds(asked, [b" "], [0, 1, 2])
            asked.sendall(f"{json.dumps(command)}\n".encode())
            if not asked.recv(1):
                return None
        except OSError:
            return None
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the fork, which says so
        return int(asked.recv(4) or 1)


def _serve(listener: socket.socket, ahead: Sequence[str]) -> None:
    """Import `ahead`, and answer each command with a fork; ends with standard input. Returns in a fork alone,
    which stands for its command then, and ends as any other process."""
    started, own = time.time_ns(), programs.only(re.compile(".*"))
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    for name in ahead:
        with contextlib.suppress(Exception, SystemExit):
            _call(name)
    gc.freeze()  # forks need not look through what is imported
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        asked, _ = listener.accept()
        if not os.fork():
            listener.close()
            return _stand_for(asked, started, own)
        asked.close()
    sys.exit()


def _stand_for(asked: socket.socket, started: int, own: Mapping[str, str]) -> None:
    """Take on the command's streams, folder and environment in a child, whose exit code is told however it
    ends. A command is not taken that would not find here what it would find in a process of its own."""
    _, streams, *_ = socket.recv_fds(asked, 1, 3)
    with asked.makefile(encoding="utf-8") as lines:
        sys.argv, folder, environment = json.loads(lines.readline())
    other = {name for name, _ in environment.items() ^ own.items()}
    if _edited(started) or not all(map(ADDED.fullmatch, other)):
        os._exit(0)
    asked.sendall(b" ")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(OSError):  # nobody waits any more
            asked.sendall(str(code if code >= 0 else 128 - code).encode())
        os._exit(0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ |= {name: environment[name] for name in other & environment.keys()}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with, args=(asked,), daemon=True).start()
    importlib.reload(console)  # whose clock begins now


def _edited(since: int) -> bool:
    """Whether a file of ours that is imported has changed since then, in nanoseconds: DVC records what it is
    when a stage begins."""
    files = [file for module in sys.modules.values() if (file := getattr(module, "__file__", None))]
    code = [file for file in files if file.startswith(f"{programs.CODE}/")]
    ours = [Path(file) for file in code if not file.startswith(f"{sys.prefix}/")]  # no package of .venv
    return any(not path.exists() or path.stat().st_ctime_ns > since for path in ours)


def _call(name: str) -> None:
    module, _, function = name.partition(":")
    found = importlib.import_module(module)
    if function:
        getattr(found, function)()


def _end_with(asked: socket.socket) -> None:
    asked.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main = sys.argv[2]
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[3:])
    _call(main)
