"""A host: the machine that holds environments. Folders, tools, and the supervisor with the edge under it.

Terraform (infra/local) calls `python -m pipelines.delivery.host install|start|stop`; the rollout
reads `Host`.
"""

import errno
import json
import os
import shutil
import socket
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from pipelines.base import git
from pipelines.delivery import keeper, supervision, venv
from pipelines.delivery.edge import Edge
from pipelines.delivery.journal import Journal
from pipelines.delivery.slots import launch, process
from pipelines.delivery.supervisor import Supervisor
from pipelines.errors import Refused, UserError
from pipelines.files import read_json, write_json
from pipelines.problem.columns import CONTRACT

COLOURS = ("blue", "green")


@dataclass(frozen=True)
class Host:
    """One environment on this machine, as Terraform's outputs describe it."""

    environment: str
    home: Path
    folder: Path
    tools: Path
    edge_url: str
    admin_url: str
    models: dict[str, dict[str, int]]  # name -> colour -> port; the first also answers at the edge's top
    socket: Path
    model: str  # whose slots, journal and lock this is about

    @classmethod
    def load(cls, environment: str, at: Path | None = None, model: str = CONTRACT.name) -> "Host":
        """Read host.json. UserError where `ml infra up` has not made this environment for this model."""
        path = (at or home()) / environment / "host.json"
        way_out = f"run `ml infra up --env {environment}`"
        if not path.exists():
            raise UserError(f"no host for {environment} ({path}): {way_out}")
        try:
            host = cls.parse(read_json(path), model)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not what `ml infra up` writes ({error!r}): {way_out}") from None
        if not _same_folder(host.folder, path.parent):
            raise UserError(
                f"{path} is about {host.folder}, from where it was moved: move it back, or {way_out}"
            )
        if model not in host.models:
            raise UserError(f"{environment} serves {', '.join(host.models)} here, not yet {model}: {way_out}")
        return host

    @classmethod
    def parse(cls, value: dict[str, Any], model: str = CONTRACT.name) -> "Host":
        """From Terraform's output `host`."""
        paths = {name: Path(value[name]) for name in ("home", "folder", "tools", "socket")}
        models = {each["name"]: {colour: int(each[colour]) for colour in COLOURS} for each in value["models"]}
        return cls(
            value["environment"],
            **paths,
            edge_url=value["edge_url"],
            admin_url=value["admin_url"],
            models=models,
            model=model,
        )

    def save(self) -> None:
        """Write host.json."""
        value = asdict(self) | {"models": [{"name": name, **slots} for name, slots in self.models.items()]}
        del value["model"]
        write_json(self.folder / "host.json", json.loads(json.dumps(value, default=str)))

    def of(self, model: str) -> "Host":
        """The same environment for another of its models."""
        return replace(self, model=model)

    @property
    def each(self) -> list["Host"]:
        """The environment once for each model."""
        return [self.of(model) for model in self.models]

    @property
    def slots(self) -> dict[str, int]:
        """The port of each colour."""
        return self.models[self.model]

    @property
    def place(self) -> Path:
        """What is the model's own: journal, lock, slots, predictions."""
        return place(self.home, self.environment, self.model)

    @property
    def predictions(self) -> Path:
        """The prediction log."""
        return self.place / "predictions"

    @property
    def edge(self) -> Edge:
        return Edge(self.folder / "edge", self.edge_url, self.admin_url, self.models, self.model)

    @property
    def journal(self) -> Journal:
        return Journal(self.place / "journal.jsonl")

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.socket)

    @property
    def ports(self) -> dict[str, int]:
        """Every port of this environment, by what it is for."""
        edge, admin = (int(url.rpartition(":")[2]) for url in (self.edge_url, self.admin_url))
        slots = {f"{slot} of {name}": port for name, of in self.models.items() for slot, port in of.items()}
        return {"edge": edge, "admin": admin, **slots}

    @property
    def mark(self) -> str:
        """What the processes of this environment carry, its slots aside (theirs is `process.mark`)."""
        return str(self.folder)


def home() -> Path:
    """`$GREENLIGHT_HOME`, by default ~/.local/state/greenlight/REPOSITORY."""
    named = os.environ.get("GREENLIGHT_HOME")
    if named:
        return Path(named).absolute()
    try:
        origin = git.remote_url()
    except git.NoRepository:
        origin = None
    name = Path(origin or "").name.removesuffix(".git") or Path.cwd().name
    return Path.home() / ".local" / "state" / "greenlight" / name


def place(home: Path, environment: str, model: str = CONTRACT.name) -> Path:
    """Where an environment keeps what is a model's own."""
    return home / environment / "models" / model


def alive(host: Host) -> bool:
    """Whether the supervisor and the edge answer, whatever Terraform remembers."""
    return supervision.alone(host) and host.edge.ready()


def install(tools: Path, lock: Path) -> None:
    """Install what runs on the host (supervisord, Envoy) from `lock` into a folder that no job deletes."""
    venv.make(tools, lock)


def start(host: Host, within: float = 30.0) -> None:
    """Bring up the supervisor, the edge and the slots that were up; what runs already is left alone.

    Refused when the edge does not answer within `within` seconds; then nothing runs where nothing ran before.
    """
    host.edge.write_configuration(supervision.files(host))  # an edge that runs takes up a new model
    ran = any(launch.leftovers(mark) for mark in _marks(host))
    try:
        revive(host, within)
    except Refused:
        if not ran:
            stop(host)
        raise


def revive(host: Host, within: float = 30.0) -> bool:
    """Bring back the supervisor or the edge where it died, around those of its processes that still serve.

    They go on serving, and what the new supervisor starts beside them waits for its turn (see `keeper`).
    Returns whether there was something to do; call it only where the environment is `held`. UserError where a
    port is taken, Refused, with all left as it is, when the edge does not answer within `within` seconds.
    """
    if alive(host):
        return False
    check_ports(host)
    if not (alone := supervision.alone(host)):
        supervision.end(host)
    supervision.write(host)
    _make_private(host)
    for one in host.each:
        for colour in COLOURS:
            process.render(one, colour)
    if alone:
        host.supervisor.start("edge")
    else:
        supervision.start(host)
    _wait_until_ready(host, within)
    return True


def stop(host: Host) -> None:
    """End every process of this environment; its files stay, and `start` brings it back as it was."""
    host.supervisor.shutdown()
    supervision.end(host)  # one that nobody can speak to would start again what ends now
    for mark in _slot_marks(host):
        launch.end(mark, process.GRACE)
    launch.clear(host.mark)
    host.socket.unlink(missing_ok=True)


def forget(host: Host) -> None:
    """Remove what `start` made; the journal, the predictions and Terraform's state stay."""
    for folder in (*(host.folder / name for name in ("edge", "supervisor")), *map(process.root, host.each)):
        shutil.rmtree(folder, ignore_errors=True)
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
                f'is in use{by}: write {{"port": N}}, the first of {len(host.ports)} free ports, '
                f"to {host.folder / 'terraform.tfvars.json'}"
            )


def edge_process(host: Host) -> int:
    """The process id of the edge, or 0. The supervisor's own child is its keeper."""
    return keeper.holder(host.folder / "edge" / "lock")


def _make_private(host: Host) -> None:
    """What callers sent and servers said is for this user alone, also where an earlier version wrote it."""
    for one in host.each:
        one.predictions.mkdir(parents=True, exist_ok=True)
        one.predictions.chmod(0o700)
    for pattern in ("edge/*.log*", "supervisor/*.log*", "models/*/slots/*/log*", "models/*/predictions/*"):
        for log in host.folder.glob(pattern):
            log.chmod(0o600)


def _same_folder(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _marks(host: Host) -> list[str]:
    return [host.mark, *_slot_marks(host)]


def _slot_marks(host: Host) -> list[str]:
    return [process.mark(one, colour) for one in host.each for colour in COLOURS]


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
    try:
        return holder.environ().get(launch.MARK) in _marks(host)
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
