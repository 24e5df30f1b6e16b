"""The slot kind `process`: the Bento of a release, in its own locked environment under the supervisor."""

import os
import shutil
import signal
from pathlib import Path

from pipelines.artifacts.host import Served
from pipelines.base import venv
from pipelines.base.errors import Refused
from pipelines.base.files import write_text
from pipelines.base.waiting import until
from pipelines.host import keeper
from pipelines.host.slots import launch
from pipelines.host.slots.slot import Slot
from pipelines.host.supervisor import program
from pipelines.serving.log import DAYS_SETTING, days_kept

GRACE_SECONDS = 30  # that a server gets to answer what it has begun
STARTS_SECONDS = 10.0  # in which its process begins


def start(slot: Slot, release: str, folder: Path) -> None:
    """Serve the release in `folder` on the slot's port, unless it does. Refused where it does not start."""
    if running(slot) == release:
        return
    stop(slot)
    lock = folder / "bento" / "src" / "requirements" / "serve.txt"
    environment = venv.make(slot.environments / venv.name(lock), lock)
    home = slot.home
    shutil.rmtree(home, ignore_errors=True)  # its log then holds this release's lines only
    Served(release=release, bento=folder / "bento", python=environment / "bin" / "python").write(home)
    render(slot)
    slot.supervisor.take(slot.program)
    if not until(lambda: slot.supervisor.state(slot.program) == "RUNNING", STARTS_SECONDS):
        raise Refused(f"the supervisor does not start slot {slot.colour}: {last_words(slot, 3)}")


def stop(slot: Slot) -> None:
    """End the slot's server, whichever supervisor started it, and what an earlier one left on its port."""
    (slot.home / Served.NAME).unlink(missing_ok=True)
    render(slot)
    slot.supervisor.drop(slot.program)  # first, because it may wait for the turn of the server
    launch.end(slot.mark, GRACE_SECONDS)


def restart(slot: Slot) -> None:
    """End a slot's server that hangs; the supervisor starts it again. What it had begun is lost."""
    if hung := server(slot):
        os.kill(hung, signal.SIGKILL)


def running(slot: Slot) -> str | None:
    """The release that the slot runs, also without a supervisor, or None."""
    supervised = slot.supervisor.state(slot.program) in ("RUNNING", "STARTING")
    if not (slot.home / Served.NAME).exists() or not (supervised or server(slot)):
        return None
    return Served.read(slot.home).release


def server(slot: Slot) -> int:
    """The process id of the slot's server, or 0. The supervisor's own child may still wait for its turn."""
    return keeper.holder(slot.lock)


def ended(slot: Slot) -> int:
    """When the slot's server, which has ended by itself, was started, in seconds since the epoch; else 0."""
    has_ended = slot.supervisor.state(slot.program) in ("EXITED", "FATAL", "BACKOFF")
    return slot.supervisor.started(slot.program) if has_ended else 0


def last_words(slot: Slot, lines: int = 20) -> str:
    """The end of the slot's log."""
    words = slot.log.read_text(errors="replace") if slot.log.exists() else ""
    return "\n".join(words.splitlines()[-lines:])


def render(slot: Slot) -> None:
    """Write the supervisor's configuration of the slot from slot.json, or remove it where there is none."""
    home, conf = slot.home, slot.supervised / "conf.d" / f"{slot.program}.conf"
    if not (home / Served.NAME).exists():
        conf.unlink(missing_ok=True)
        return
    served = Served.read(home)
    launcher, waiter = (slot.supervised / name for name in ("launch.py", "keeper.py"))
    write_text(launcher, Path(launch.__file__).read_text())
    write_text(waiter, Path(keeper.__file__).read_text())
    options = ("--host", "127.0.0.1", "--port", str(slot.port), "--api-workers", "1")
    python = str(served.python)
    wait = (python, str(waiter), "once", str(slot.lock), str(slot.log))
    command = [*wait, python, str(launcher), python, "-m", "bentoml", "serve", str(served.bento), *options]
    environment = {
        launch.MARK: slot.mark,
        "GREENLIGHT_RELEASE": served.release,
        "GREENLIGHT_SLOT": slot.colour,
        "GREENLIGHT_PREDICTIONS": str(slot.predictions),
        DAYS_SETTING: str(days_kept(os.environ.get(DAYS_SETTING))),
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "true",
        # the store stays as it was verified
        "PYTHONPYCACHEPREFIX": str(served.python.parents[1] / "pycache"),
        "PYTHONUNBUFFERED": "1",
    }
    told = ",".join(f'{name}="{value}"' for name, value in environment.items())
    settings = {"directory": home, "environment": told, "stopwaitsecs": GRACE_SECONDS}
    write_text(conf, program(slot.program, command, slot.log, **settings))
