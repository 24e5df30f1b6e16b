"""A host: the machine that holds environments. Folders, tools, and the supervisor with the edge under it.

Terraform (infra/local) calls `python -m pipelines.delivery.host install|start|stop`; the rollout
reads `Host`.
"""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pipelines.delivery import venv
from pipelines.delivery.edge import Edge
from pipelines.delivery.slots import launch, process
from pipelines.delivery.supervisor import Supervisor
from pipelines.errors import Refused, UserError
from pipelines.files import read_json, write_json, write_text

COLOURS = ("blue", "green")

# What a service on the host inherits. No token, and not RUNNER_TRACKING_ID, by which a runner would kill it.
KEPT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Host:
    """One environment on this machine, as Terraform's outputs describe it."""

    environment: str
    home: Path
    folder: Path
    tools: Path
    predictions: Path
    edge_url: str
    admin_url: str
    slots: dict[str, int]
    socket: Path

    @classmethod
    def load(cls, environment: str, at: Path | None = None) -> "Host":
        """Read host.json. UserError where `ml infra up` has not made this environment."""
        path = (at or home()) / environment / "host.json"
        if not path.exists():
            raise UserError(f"no host for {environment} ({path}): run `ml infra up --env {environment}`")
        return cls.parse(read_json(path))

    @classmethod
    def parse(cls, value: dict[str, Any]) -> "Host":
        """From Terraform's output `host`."""
        paths = {name: Path(value[name]) for name in ("home", "folder", "tools", "predictions", "socket")}
        slots = {colour: int(value["slots"][colour]) for colour in COLOURS}
        return cls(
            value["environment"],
            **paths,
            edge_url=value["edge_url"],
            admin_url=value["admin_url"],
            slots=slots,
        )

    def save(self) -> None:
        """Write host.json."""
        write_json(self.folder / "host.json", json.loads(json.dumps(asdict(self), default=str)))

    @property
    def edge(self) -> Edge:
        return Edge(self.folder / "edge", self.edge_url, self.admin_url, self.slots)

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.socket)

    @property
    def ports(self) -> dict[str, int]:
        """Every port of this environment, by what it is for."""
        edge, admin = (int(url.rpartition(":")[2]) for url in (self.edge_url, self.admin_url))
        return {"edge": edge, "admin": admin, **self.slots}

    @property
    def mark(self) -> str:
        """What the processes of this environment carry, its slots aside (theirs is `process.mark`)."""
        return str(self.folder)


def home() -> Path:
    """`$GREENLIGHT_HOME`, by default ~/.local/state/greenlight/REPOSITORY."""
    named = os.environ.get("GREENLIGHT_HOME")
    if named:
        return Path(named).absolute()
    origin = subprocess.run(["git", "remote", "get-url", "origin"], capture_output=True, text=True)
    name = Path(origin.stdout.strip()).name.removesuffix(".git") or Path.cwd().name
    return Path.home() / ".local" / "state" / "greenlight" / name


def alive(host: Host) -> bool:
    """Whether the supervisor and the edge answer, whatever Terraform remembers."""
    return host.supervisor.alive() and host.edge.ready()


def install(tools: Path, lock: Path) -> None:
    """Install what runs on the host (supervisord, Envoy) from `lock` into a folder that no job deletes."""
    venv.make(tools, lock)


def start(host: Host, within: float = 30.0) -> None:
    """Bring up the supervisor, the edge and the slots that were up; what runs already is left alone.

    Refused, with what was started stopped again, when the edge does not answer within `within` seconds.
    """
    check_ports(host)
    for folder in ("edge", "supervisor/conf.d", "slots", "predictions"):
        (host.folder / folder).mkdir(parents=True, exist_ok=True)
    host.edge.write_bootstrap()
    write_text(host.folder / "supervisor" / "supervisord.conf", _supervisord_conf(host))
    for colour in COLOURS:
        process.render(host, colour)
    if not host.supervisor.alive():
        launch.clear(host.mark)  # an edge whose supervisor was killed would keep the port
        _detach(host)
    else:
        host.supervisor.start("edge")
    try:
        _wait_until_ready(host, within)
    except Refused:
        stop(host)
        raise


def stop(host: Host) -> None:
    """End every process of this environment; its files stay, and `start` brings it back as it was."""
    host.supervisor.shutdown()
    for mark in (host.mark, *(process.mark(host, colour) for colour in COLOURS)):
        launch.clear(mark)
    host.socket.unlink(missing_ok=True)


def forget(host: Host) -> None:
    """Remove what `start` made; the journal, the predictions and Terraform's state stay."""
    for folder in ("edge", "supervisor", "slots"):
        shutil.rmtree(host.folder / folder, ignore_errors=True)
    (host.folder / "host.json").unlink(missing_ok=True)


def check_ports(host: Host) -> None:
    """UserError naming the port that something other than this environment holds."""
    for use, port in host.ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                continue
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        holder = _holder(port)
        if holder is None or not _is_ours(host, holder):
            by = f" by {holder.name()} (process {holder.pid})" if holder else ""
            raise UserError(
                f"port {port} ({use} of {host.environment}) "
                f'is in use{by}: write {{"port": N}}, the first of four free ports, '
                f"to {host.folder / 'terraform.tfvars.json'}"
            )


def _supervisord_conf(host: Host) -> str:
    folder, quoted = host.folder, process.quoted
    return f"""\
[supervisord]
nodaemon = true
identifier = greenlight-{host.environment}
directory = {quoted(str(folder))}
logfile = {quoted(str(folder / "supervisor" / "supervisord.log"))}
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = {quoted(str(folder / "supervisor" / "supervisord.pid"))}
childlogdir = {quoted(str(folder / "supervisor"))}

[unix_http_server]
file = {quoted(str(host.socket))}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{quoted(str(host.socket))}

[program:edge]
command = {process.command_line(host.edge.command(host.tools))}
autorestart = true
startretries = 1000000
startsecs = 0
stopwaitsecs = 5
redirect_stderr = true
stdout_logfile = {quoted(str(folder / "edge" / "envoy.log"))}
stdout_logfile_maxbytes = 5MB
stdout_logfile_backups = 1
stopasgroup = true

[include]
files = {quoted(str(folder / "supervisor" / "conf.d"))}/*.conf
"""


def _detach(host: Host) -> None:
    """Start supervisord so that it outlives the caller: no open file, own session, clean environment."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {launch.MARK: host.mark, "DO_NOT_TRACK": "true"}
    log = host.folder / "supervisor" / "start.log"
    with log.open("wb") as out:
        subprocess.Popen(
            [
                str(host.tools / "bin" / "python"),
                *("-m", "supervisor.supervisord"),
                *("-c", str(host.folder / "supervisor" / "supervisord.conf")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=host.folder,
            env=environment,
            start_new_session=True,
            close_fds=True,
        )


def _wait_until_ready(host: Host, within: float) -> None:
    until = time.monotonic() + within
    while not alive(host):
        if time.monotonic() > until:
            logs = (host.folder / "supervisor" / "start.log", host.folder / "edge" / "envoy.log")
            words = [log.read_text(errors="replace").split("\n")[-3:] for log in logs if log.exists()]
            said = " ".join(" ".join(line.strip() for line in lines) for lines in words).strip()
            raise Refused(
                f"the edge of {host.environment} did not answer within {within:.0f} s: {said or 'no log'}"
            )
        time.sleep(0.05)


def _holder(port: int) -> psutil.Process | None:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return psutil.Process(connection.pid)
    except psutil.Error:
        return None
    return None


def _is_ours(host: Host, holder: psutil.Process) -> bool:
    marks = {host.mark, *(process.mark(host, colour) for colour in COLOURS)}
    try:
        return holder.environ().get(launch.MARK) in marks
    except psutil.Error:
        return False


def main() -> None:
    """What Terraform's provisioners call: install, start or stop the host in $GREENLIGHT_HOST (JSON)."""
    try:
        host = Host.parse(json.loads(os.environ["GREENLIGHT_HOST"]))
        match sys.argv[1:]:
            case ["install"]:
                install(host.tools, Path(os.environ["GREENLIGHT_LOCK"]))
            case ["start"]:
                start(host)
            case ["stop"]:
                stop(host)
            case other:
                raise UserError(
                    f"pipelines.delivery.host has install, start and stop, not {' '.join(other)!r}"
                )
    except (UserError, Refused) as error:
        print(f"ml: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 4)


if __name__ == "__main__":
    main()
