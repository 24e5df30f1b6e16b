"""The one supervisor of an environment: how it starts, and how a stray one ends whose children serve on."""

import contextlib
import os
import resource
import subprocess
from pathlib import Path

import psutil

from pipelines.base import programs
from pipelines.base.files import write_text
from pipelines.host import keeper
from pipelines.host.host import Host
from pipelines.host.slots import launch
from pipelines.host.supervisor import command_line, quoted

# What a service on the host inherits. No token, and not RUNNER_TRACKING_ID, by which a runner would kill it.
KEPT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")


def alone(host: Host) -> bool:
    """Whether the supervisor that answers is the one whose turn it is: no other one starts what it stops."""
    turn = keeper.holder(_lock(host))
    return turn != 0 and host.supervisor.alive() and host.supervisor.itself() == turn


def end(host: Host) -> None:
    """Kill the supervisors of this environment: one whose socket was removed lives on, but hears nobody.

    What they started serves on, and the next one's children wait for its end.
    """
    found = [each for each in launch.leftovers(host.mark) if _is_supervisor(each)]
    for supervisor in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.kill()
    psutil.wait_procs(found, timeout=10)


def write(host: Host) -> None:
    """Write what the supervisor starts with, the edge among it."""
    (host.folder / "supervisor" / "conf.d").mkdir(parents=True, exist_ok=True)
    host.edge.write_configuration(files(host))
    write_text(_keeper(host), Path(keeper.__file__).read_text())
    write_text(host.folder / "supervisor" / "supervisord.conf", _supervisord_conf(host))


def start(host: Host) -> None:
    """Start supervisord so that it outlives the caller: no open file, own session, clean environment.

    By its lock there is never a second one.
    """
    environment = programs.only(*KEPT, **{launch.MARK: host.mark, "DO_NOT_TRACK": "true"})
    log, python = host.folder / "supervisor" / "start.log", str(host.tools / "bin" / "python")
    log.unlink(missing_ok=True)
    programs.start(
        [
            *(python, str(_keeper(host)), "alone", str(_lock(host)), str(log)),
            *(python, "-m", "supervisor.supervisord"),
            *("-c", str(host.folder / "supervisor" / "supervisord.conf")),
        ],
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


def _edge_command(host: Host) -> list[str]:
    """The edge's, but by Envoy's own file: the script on PATH takes another 30 ms at each start."""
    script, *options = host.edge.command(host.tools)
    found = next(host.tools.glob("lib/python3*/site-packages/envoy/_bin/envoy"), None)
    return [str(found) if found and Path(script) == host.tools / "bin" / "envoy" else script, *options]


def _supervisord_conf(host: Host) -> str:
    folder = host.folder
    log, keep = folder / "edge" / "envoy.log", [str(host.tools / "bin" / "python"), str(_keeper(host))]
    edge = [*keep, "keep", str(folder / "edge" / "lock"), str(log), *_edge_command(host)]
    logs = [*keep, "trim", str(log), str(folder / "models/*/slots/*/log")]
    return f"""\
[supervisord]
nodaemon = true
identifier = greenlight-{host.environment}
directory = {quoted(str(folder))}
minfds = {min(1024, files(host))}
logfile = {quoted(str(folder / "supervisor" / "supervisord.log"))}
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = {quoted(str(folder / "supervisor" / "supervisord.pid"))}
childlogdir = {quoted(str(folder / "supervisor"))}

[unix_http_server]
file = {quoted(_as_supervisord_sees(host, host.socket))}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{quoted(str(host.socket))}

[program:edge]
command = {command_line(edge)}
autorestart = true
startretries = 1000000
startsecs = 0
stopwaitsecs = 5
killasgroup = true
redirect_stderr = true
stdout_logfile = {quoted(str(log))}
stdout_logfile_maxbytes = 0

[program:logs]
command = {command_line(logs)}
autorestart = true
startsecs = 0
startretries = 1000000

[include]
files = conf.d/*.conf
"""


def _as_supervisord_sees(host: Host, path: Path) -> str:
    """Short: a socket's path may have 107 bytes at most. It runs in the host's folder."""
    return (
        f"/proc/self/cwd/{path.relative_to(host.folder)}" if path.is_relative_to(host.folder) else str(path)
    )


def _is_supervisor(found: psutil.Process) -> bool:
    try:
        return "supervisor.supervisord" in found.cmdline()
    except psutil.Error:
        return False


def _lock(host: Host) -> Path:
    return host.folder / "supervisor" / "lock"


def _keeper(host: Host) -> Path:
    return host.folder / "supervisor" / "keeper.py"
