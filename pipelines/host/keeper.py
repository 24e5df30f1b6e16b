"""A turn at a port: one process serves, and whoever is started beside it waits for its end. Runs alone.

`once LOCK LOG COMMAND` waits for its turn and becomes the command; `alone LOCK LOG COMMAND` ends where it is
another's turn. `keep LOCK LOG COMMAND` starts the command again at once whenever it ends, which supervisord
does only after a second. The command writes its log itself: a pipe to a supervisor that was killed would
break at its next word. `trim LOG...` keeps such logs short.

The lock is a POSIX record lock (fcntl(2)): it stays with a process through execve, and its children do not
have it. So the server itself holds it, however its parents ended, and no worker that outlived it does.
"""

import contextlib
import fcntl
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

EARLY_SECONDS = 1.0  # a command that ends sooner is not started a third time without a pause
PAUSE_SECONDS = 5.0  # at most
LOG_BYTES = 5_000_000
FILES = 65_536  # that a server may have open, where its hard limit allows so many


def once(lock: str, log: str, command: list[str], wait: bool = True) -> None:
    """Become the command, its output in `log`, once nobody else has the turn.

    Its process id is then in the file `lock`. BlockingIOError where it is another's turn and it may not wait.
    """
    file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    os.set_inheritable(file, True)  # closed by execve, it would be unlocked
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files(hard), hard))
    os.execv(command[0], command)


def files(hard: int) -> int:
    """How many files a server may have open under such a hard limit."""
    return FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)


def holder(lock: Path) -> int:
    """The process whose turn it is, or 0."""
    try:
        with lock.open("rb") as file:
            try:
                os.lockf(file.fileno(), os.F_TEST, 0)
            except (PermissionError, BlockingIOError):
                return int(file.read() or 0)
    except FileNotFoundError:
        pass
    return 0


def keep(lock: str, log: str, command: list[str]) -> None:
    """Have the command run, its output in `log`, until SIGTERM or SIGINT, which it gets too.

    A keeper that was killed leaves its command running, and the next keeper's waits for the end of that."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # what is ignored by default may not wake sigwait
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    parent, early = os.getppid(), 0
    while True:
        child, began = _start(lock, log, command), time.monotonic()
        while (got := signal.sigwait(signals)) == signal.SIGCHLD:
            if os.waitpid(child, os.WNOHANG)[0]:
                break
        else:
            os.kill(child, got)
            os.waitpid(child, 0)
            return
        if os.getppid() != parent:  # the supervisor died: a successor's keeper may take over
            time.sleep(0.02)
            if holder(Path(lock)) not in (0, child):
                return
        early = early + 1 if time.monotonic() - began < EARLY_SECONDS else 0
        pause = min(0.1 * 2 ** (early - 2), PAUSE_SECONDS) if early > 1 else 0
        if pause and signal.sigtimedwait(signals[:2], pause):
            return


def trim(logs: list[str], every: float = 30.0) -> None:
    """Set aside what is in a log once it is too long, and empty it under its writer, as long as our
    supervisor lives."""
    parent = os.getppid()
    while os.getppid() == parent:
        for log in (found for pattern in logs for found in Path("/").glob(pattern[1:])):
            if log.stat().st_size > LOG_BYTES:
                aside = Path(f"{log}.1")
                aside.touch(0o600)
                shutil.copyfile(log, aside)
                os.truncate(log, 0)  # it is open for appending: the next word goes to its beginning
        time.sleep(every)


def _start(lock: str, log: str, command: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        for each in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):  # a shell's `&` leaves SIGINT ignored
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        once(lock, log, command)
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["once", lock, log, *command]:
            once(lock, log, command)
        case ["alone", lock, log, *command]:
            with contextlib.suppress(BlockingIOError):
                once(lock, log, command, wait=False)
        case ["keep", lock, log, *command]:
            keep(lock, log, command)
        case ["trim", *logs]:
            trim(logs)
        case other:
            sys.exit(f"keeper.py has once, alone, keep and trim, not {other[:1]}")
