"""The slot kind `process`: the Bento of a release, in its own locked environment under the supervisor."""

import os
import shutil
import signal
import time
from pathlib import Path

from pipelines.artifacts.slot import Served
from pipelines.base.errors import Refused
from pipelines.base.files import write_text
from pipelines.host import keeper, venv
from pipelines.host.slots import launch
from pipelines.host.slots.slot import Slot
from pipelines.host.supervisor import command_line, quoted
from pipelines.serving.log import DAYS_SETTING, days_kept

GRACE_SECONDS = 30  # that a server gets to answer what it has begun


def start(slot: Slot, release: str, folder: Path) -> None:
    """Serve the release that is in `folder` on the slot's port; leaves it alone if it already does.

    Refused when its environment cannot be made or its process does not start.
    """
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
    _wait_until_started(slot)


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
    supervised = state(slot) in ("RUNNING", "STARTING")
    if not (slot.home / Served.NAME).exists() or not (supervised or server(slot)):
        return None
    return Served.read(slot.home).release


def server(slot: Slot) -> int:
    """The process id of the slot's server, or 0. The supervisor's own child may still wait for its turn."""
    return keeper.holder(slot.lock)


def state(slot: Slot) -> str:
    """What the supervisor says of the slot's program, such as `RUNNING`."""
    return slot.supervisor.state(slot.program)


def ended(slot: Slot) -> int:
    """When the slot's server, which has ended by itself, was started, in seconds since the epoch; else 0.

    The supervisor starts it again.
    """
    has_ended = state(slot) in ("EXITED", "FATAL", "BACKOFF")
    return slot.supervisor.started(slot.program) if has_ended else 0


def pid(slot: Slot) -> int:
    """The supervisor's own child of the slot, or 0; it may still wait for its turn (see `server`)."""
    return slot.supervisor.pid(slot.program)


def last_words(slot: Slot, lines: int = 20) -> str:
    """The end of the slot's log."""
    path = slot.log
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


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
    python = str(served.python)
    command = [
        *(python, str(waiter), "once", str(slot.lock), str(slot.log)),
        *(python, str(launcher)),
        *(python, "-m", "bentoml", "serve", str(served.bento)),
        *("--host", "127.0.0.1", "--port", str(slot.port), "--api-workers", "1"),
    ]
    environment = {
        launch.MARK: slot.mark,
        "GREENLIGHT_RELEASE": served.release,
        "GREENLIGHT_SLOT": slot.colour,
        "GREENLIGHT_PREDICTIONS": str(slot.predictions),
        DAYS_SETTING: str(days_kept(os.environ.get(DAYS_SETTING))),
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "true",
        "PYTHONPYCACHEPREFIX": str(
            served.python.parents[1] / "pycache"
        ),  # the store stays as it was verified
        "PYTHONUNBUFFERED": "1",
    }
    write_text(
        conf,
        f"""\
[program:{slot.program}]
command = {command_line(command)}
directory = {quoted(str(home))}
environment = {",".join(f'{name}="{quoted(value)}"' for name, value in environment.items())}
autorestart = true
startsecs = 0
startretries = 1000000
stopwaitsecs = {GRACE_SECONDS}
killasgroup = true
redirect_stderr = true
stdout_logfile = {quoted(str(slot.log))}
stdout_logfile_maxbytes = 0
""",
    )


def _wait_until_started(slot: Slot, within: float = 10.0) -> None:
    until = time.monotonic() + within
    while state(slot) != "RUNNING":
        if time.monotonic() > until:
            raise Refused(f"the supervisor does not start slot {slot.colour}: {last_words(slot, 3)}")
        time.sleep(0.05)
