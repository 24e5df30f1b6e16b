"""What runs on a host: the supervisor, with the edge and the slots under it. Brought up, revived and ended.

Terraform (infra/local) calls `python -m pipelines.host.services install|start|stop`.
"""

import contextlib
import os
import shutil
import socket
import sys
from functools import partial
from pathlib import Path

import psutil

from pipelines.artifacts.host import Outputs
from pipelines.base import venv
from pipelines.base.errors import Refused, UserError
from pipelines.base.waiting import until
from pipelines.host import supervision
from pipelines.host.host import Host
from pipelines.host.slots import launch, process


def alive(host: Host) -> bool:
    """Whether the supervisor and the edge answer, whatever Terraform remembers."""
    return supervision.alone(host) and host.edge.ready()


def start(host: Host, within: float = 30.0) -> None:
    """Bring up the supervisor, the edge and the slots that were up; what runs already is left alone.

    Refused when the edge does not answer within `within` seconds; then nothing runs where nothing ran before.
    """
    host.edge.write_configuration(supervision.files(host))  # an edge that runs takes up a new model
    ran = any(launch.leftovers(mark) for mark in (host.mark, *_slot_marks(host)))
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
    port is taken, Refused, with all left as it is, when the edge does not answer within `within` seconds."""
    if alive(host):
        return False
    check_ports(host)
    if not (alone := supervision.alone(host)):
        supervision.end(host)
    supervision.write(host)
    _make_private(host)
    for one in host.each:
        for slot in one.slots:
            process.render(slot)
    if alone:
        host.supervisor.start("edge")
    else:
        supervision.start(host)
    if not until(lambda: alive(host), within):
        logs = (host.folder / "supervisor" / "start.log", host.folder / "edge" / "envoy.log")
        ends = [log.read_text(errors="replace").split("\n")[-3:] for log in logs if log.exists()]
        words = " ".join(line.strip() for end in ends for line in end).strip() or "no log"
        raise Refused(f"the edge of {host.environment} did not answer within {within:.0f} s: {words}")
    return True


def stop(host: Host) -> None:
    """End every process of this environment; its files stay, and `start` brings it back as it was."""
    host.supervisor.shutdown()
    supervision.end(host)  # one that nobody can speak to would start again what ends now
    for mark in _slot_marks(host):
        launch.end(mark, process.GRACE_SECONDS)
    launch.clear(host.mark)
    host.socket.unlink(missing_ok=True)


def forget(host: Host) -> None:
    """Remove what `start` made; the journal, the predictions and Terraform's state stay."""
    slots = [one.place / "slots" for one in host.each]
    for folder in (host.folder / "edge", host.folder / "supervisor", *slots):
        shutil.rmtree(folder, ignore_errors=True)
    (host.folder / Outputs.NAME).unlink(missing_ok=True)


def check_ports(host: Host) -> None:
    """UserError naming the port that something other than this environment holds."""
    for use, port in host.ports.items():
        # what was killed loses its environment at once, and its ports a moment later
        if until(partial(_free_or_ours, port, host), within=1.0):
            continue
        holder = _holder(port)
        by = f" by {holder.name()} (process {holder.pid})" if holder else ""
        raise UserError(
            f'port {port} ({use} of {host.environment}) is in use{by}: write {{"port": N}}, the first of '
            f"{len(host.ports)} free ports, to {host.folder / 'terraform.tfvars.json'}"
        )


def _make_private(host: Host) -> None:
    """What callers sent and servers said is for this user alone, also where an earlier version wrote it."""
    for one in host.each:
        one.predictions.mkdir(parents=True, exist_ok=True)
        one.predictions.chmod(0o700)
    for pattern in ("edge/*.log*", "supervisor/*.log*", "models/*/slots/*/log*", "models/*/predictions/*"):
        for log in host.folder.glob(pattern):
            log.chmod(0o600)


def _slot_marks(host: Host) -> list[str]:
    return [slot.mark for one in host.each for slot in one.slots]


def _free_or_ours(port: int, host: Host) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    with contextlib.suppress(psutil.Error):
        if holder := _holder(port):
            return holder.environ().get(launch.MARK) in (host.mark, *_slot_marks(host))
    return False


def _holder(port: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return psutil.Process(connection.pid)
    return None


def main() -> None:
    """What Terraform's provisioners call: install, start or stop the host in $GREENLIGHT_HOST (JSON)."""
    try:
        host = Host.told(os.environ["GREENLIGHT_HOST"])
        match sys.argv[1:]:
            case ["install"]:  # supervisord and Envoy, into a folder that no job deletes
                venv.make(host.tools, Path(os.environ["GREENLIGHT_LOCK"]))
            case ["start"]:
                start(host)
            case ["stop"]:
                stop(host)
            case other:
                raise UserError(f"pipelines.host.services has install, start and stop, not {other}")
    except (UserError, Refused) as error:
        print(f"ml: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 4)


if __name__ == "__main__":
    main()
