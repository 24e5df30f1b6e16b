"""supervisord, spoken to over its unix socket: which programs run, take in changed ones, stop, shut down."""

import contextlib
import http.client
import os
import shlex
import socket
import xmlrpc.client
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from pipelines.base.errors import Refused
from pipelines.base.waiting import until

STOPS_SECONDS = 60.0  # at most, with all its programs
ANSWERS_SECONDS = 90.0  # at most: it may wait for a program's end


class Supervisor:
    """The supervisor of one environment; its programs are `edge`, `slot-blue` and `slot-green`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def alive(self) -> bool:
        """Whether a supervisor answers on the socket."""
        return bool(self._asked("getState").get("statename") == "RUNNING")

    def itself(self) -> int:
        """The process id of the supervisor that answers on the socket, or 0."""
        return int(self._asked("getPID") or 0)

    def state(self, program: str) -> str:
        """`RUNNING`, `STARTING`, `BACKOFF`, `FATAL`, ...; `STOPPED` also where nobody knows the program."""
        return str(self._info(program).get("statename", "STOPPED"))

    def started(self, program: str) -> int:
        """When the program was last started, in seconds since the epoch, else 0."""
        return int(self._info(program).get("start", 0))

    def take(self, program: str) -> None:
        """Read the program's configuration again and start it; it must not be running."""
        self._call("reloadConfig")
        self._call("addProcessGroup", program)

    def drop(self, program: str) -> None:
        """Stop a program, however long its own stopwaitsecs allows, and forget it."""
        if not self._info(program):
            return
        with contextlib.suppress(xmlrpc.client.Fault):  # it is not running
            self._call("stopProcess", program)
        self._call("removeProcessGroup", program)

    def start(self, program: str) -> None:
        """Start a program that the supervisor knows, unless it runs."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._call("startProcess", program, False)

    def shutdown(self) -> None:
        """Stop every program and the supervisor. Refused when it is still there after STOPS_SECONDS."""
        if not self.alive():
            return
        pid = int(self._call("getPID"))
        self._call("shutdown")
        if not until(lambda: not _runs(pid), STOPS_SECONDS):
            raise Refused(f"the supervisor (process {pid}) has not stopped within {STOPS_SECONDS:g} s")

    def _info(self, program: str) -> dict[str, Any]:
        return dict(self._asked("getProcessInfo", program))

    def _asked(self, method: str, *arguments: str) -> Any:
        """What it answers; {} where it is gone, on its way out, or does not know the program."""
        try:
            return self._call(method, *arguments)
        except (OSError, xmlrpc.client.Fault):
            return {}

    def _call(self, method: str, *arguments: Any) -> Any:
        with xmlrpc.client.ServerProxy("http://supervisor", transport=_Transport(self.path)) as server:
            return getattr(server.supervisor, method)(*arguments)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(ANSWERS_SECONDS)
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:  # a socket's path may have 107 bytes at most, and a home may be deeper
            connection.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)
        return connection


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def program(name: str, command: Sequence[str], log: Path, **settings: object) -> str:
    """A program's section of supervisord's configuration: it is started again whenever it ends."""
    given = {
        "command": shlex.join(command),
        "autorestart": "true",
        "startretries": 1000000,
        "startsecs": 0,
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": log,
        "stdout_logfile_maxbytes": 0,
        **settings,
    }
    return f"[program:{name}]\n" + "".join(f"{key} = {quoted(value)}\n" for key, value in given.items())


def quoted(value: object) -> str:
    """A value for supervisord's configuration, which expands %."""
    return str(value).replace("%", "%%")
