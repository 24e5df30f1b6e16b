"""The one supervisor of an environment: how it starts, and how a stray one ends whose children serve on."""

import contextlib
import os
import re
import resource
import subprocess
from pathlib import Path

import psutil

from pipelines.base import programs
from pipelines.base.files import write_text
from pipelines.host import keeper
from pipelines.host.host import Host
from pipelines.host.slots import launch
from pipelines.host.supervisor import program, quoted

MODULE = "supervisor.supervisord"
# What a service on the host inherits. No token, and not RUNNER_TRACKING_ID, by which a runner would kill it.
KEPT = re.compile("PATH|HOME|USER|LANG|LC_ALL|TZ|LD_LIBRARY_PATH")


def alone(host: Host) -> bool:
    """Whether the supervisor that answers is the one whose turn it is: no other one starts what it stops."""
    turn = keeper.holder(_lock(host))
    return turn != 0 and host.supervisor.alive() and host.supervisor.itself() == turn


def end(host: Host) -> None:
    """Kill the supervisors of this environment: one whose socket was removed lives on, but hears nobody.

    What they started serves on, and the next one's children wait for its end."""
    found = supervisors(host)
    for each in found:
        with contextlib.suppress(psutil.Error):
            each.kill()
    psutil.wait_procs(found, timeout=10)


def supervisors(host: Host) -> list[psutil.Process]:
    """Those of this environment, whoever their parents are."""
    found = []
    for each in launch.leftovers(host.mark):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if MODULE in each.cmdline():
                found.append(each)
    return found


def write(host: Host) -> None:
    """Write what the supervisor starts with, the edge among it."""
    (host.folder / "supervisor" / "conf.d").mkdir(parents=True, exist_ok=True)
    host.edge.write_configuration(files(host))
    write_text(_keeper(host), Path(keeper.__file__).read_text())
    folder, ours = host.folder, host.folder / "supervisor"
    log, keep = folder / "edge" / "envoy.log", [str(host.tools / "bin" / "python"), str(_keeper(host))]
    edge = [*keep, "keep", str(folder / "edge" / "lock"), str(log), *host.edge.command(host.tools)]
    trim = [*keep, "trim", str(log), str(folder / "models/*/slots/*/log")]
    socket = host.socket
    if socket.is_relative_to(folder):  # where it runs: a socket's path may have 107 bytes at most
        socket = Path("/proc/self/cwd") / socket.relative_to(folder)
    conf = f"""\
[supervisord]
nodaemon = true
identifier = greenlight-{host.environment}
directory = {quoted(folder)}
minfds = {min(1024, files(host))}
logfile = {quoted(ours / "supervisord.log")}
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = {quoted(ours / "supervisord.pid")}

[unix_http_server]
file = {quoted(socket)}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{quoted(host.socket)}

{program("edge", edge, log, stopwaitsecs=5)}
{program("logs", trim, ours / "trim.log")}
[include]
files = conf.d/*.conf
"""
    write_text(ours / "supervisord.conf", conf)


def start(host: Host) -> None:
    """Start supervisord, one by its lock, so that it outlives us: no open file, own session and settings."""
    environment = programs.only(KEPT, **{launch.MARK: host.mark, "DO_NOT_TRACK": "true"})
    folder, python = host.folder / "supervisor", str(host.tools / "bin" / "python")
    (log := folder / "start.log").unlink(missing_ok=True)
    turn = (python, str(_keeper(host)), "alone", str(_lock(host)), str(log))
    programs.start(
        [*turn, python, "-m", MODULE, "-c", str(folder / "supervisord.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=host.folder,
        env=environment,
        start_new_session=True,
        umask=0o077,  # supervisord makes the logs; its own setting for it counts only where it forks
        close_fds=True,
    )


def files(host: Host) -> int:
    """How many files the edge may have open: as the supervisor's, and so all that it starts."""
    try:
        supervisor = psutil.Process(keeper.holder(_lock(host)) or os.getpid())
        return keeper.files(supervisor.rlimit(psutil.RLIMIT_NOFILE)[1])
    except psutil.Error:
        return keeper.files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _lock(host: Host) -> Path:
    return host.folder / "supervisor" / "lock"


def _keeper(host: Host) -> Path:
    return host.folder / "supervisor" / "keeper.py"
