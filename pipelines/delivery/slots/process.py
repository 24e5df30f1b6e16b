"""The slot kind `process`: the Bento of a release, in its own locked environment under the supervisor."""

import os
import shlex
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.delivery import keeper, venv
from pipelines.delivery.slots import launch
from pipelines.errors import Refused
from pipelines.files import read_json, write_json, write_text
from pipelines.serving.log import DAYS_SETTING, days_kept

if TYPE_CHECKING:
    from pipelines.delivery.host import Host

GRACE = 30  # seconds that a server gets to answer what it has begun


def start(host: "Host", slot: str, release: str, folder: Path) -> None:
    """Serve the release that lies in `folder` on the slot's port; leaves it alone if it already does.

    Refused when its environment cannot be made or its process does not start.
    """
    if running(host, slot) == release:
        return
    stop(host, slot)
    lock = folder / "bento" / "src" / "requirements" / "serve.txt"
    environment = venv.make(host.home / "venvs" / venv.name(lock), lock)
    home = _home(host, slot)
    shutil.rmtree(home, ignore_errors=True)  # its log then holds this release's lines only
    slot_file = {
        "release": release,
        "bento": str(folder / "bento"),
        "python": str(environment / "bin" / "python"),
    }
    write_json(home / "slot.json", slot_file)
    render(host, slot)
    host.supervisor.take(_program(host, slot))
    _wait_until_started(host, slot)


def stop(host: "Host", slot: str) -> None:
    """End the slot's server, whichever supervisor started it, and what an earlier one left on its port."""
    (_home(host, slot) / "slot.json").unlink(missing_ok=True)
    render(host, slot)
    host.supervisor.drop(_program(host, slot))  # first, because it may wait for the turn of the server
    launch.end(mark(host, slot), GRACE)


def restart(host: "Host", slot: str) -> None:
    """End a slot's server that hangs; the supervisor starts it again. What it had begun is lost."""
    if hung := server(host, slot):
        os.kill(hung, signal.SIGKILL)


def running(host: "Host", slot: str) -> str | None:
    """The release that the slot runs, also without a supervisor, or None."""
    path = _home(host, slot) / "slot.json"
    supervised = state(host, slot) in ("RUNNING", "STARTING")
    if not path.exists() or not (supervised or server(host, slot)):
        return None
    return str(read_json(path)["release"])


def url(host: "Host", slot: str) -> str:
    """Where the slot answers, past the edge."""
    return f"http://127.0.0.1:{host.slots[slot]}"


def server(host: "Host", slot: str) -> int:
    """The process id of the slot's server, or 0. The supervisor's own child may still wait for its turn."""
    return keeper.holder(_lock(host, slot))


def state(host: "Host", slot: str) -> str:
    """What the supervisor says of the slot's program, such as `RUNNING`."""
    return host.supervisor.state(_program(host, slot))


def ended(host: "Host", slot: str) -> int:
    """When the slot's server, which has ended by itself, was started, in seconds since the epoch; else 0.

    The supervisor starts it again.
    """
    has_ended = state(host, slot) in ("EXITED", "FATAL", "BACKOFF")
    return host.supervisor.started(_program(host, slot)) if has_ended else 0


def pid(host: "Host", slot: str) -> int:
    """The supervisor's own child of the slot, or 0; it may still wait for its turn (see `server`)."""
    return host.supervisor.pid(_program(host, slot))


def root(host: "Host") -> Path:
    """Where the slots of a model lie."""
    return host.place / "slots"


def last_words(host: "Host", slot: str, lines: int = 20) -> str:
    """The end of the slot's log."""
    path = log(host, slot)
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def log(host: "Host", slot: str) -> Path:
    """Where the slot's server writes, and the supervisor what comes before it; `host` keeps it short."""
    return _home(host, slot) / "log"


def mark(host: "Host", slot: str) -> str:
    """What all processes of the slot carry in their environment, and no other process does."""
    return str(_home(host, slot))


def render(host: "Host", slot: str) -> None:
    """Write the supervisor's configuration of the slot from slot.json, or remove it where there is none."""
    home, conf = _home(host, slot), host.folder / "supervisor" / "conf.d" / f"{_program(host, slot)}.conf"
    if not (home / "slot.json").exists():
        conf.unlink(missing_ok=True)
        return
    settings = read_json(home / "slot.json")
    launcher, waiter = (host.folder / "supervisor" / name for name in ("launch.py", "keeper.py"))
    write_text(launcher, Path(launch.__file__).read_text())
    write_text(waiter, Path(keeper.__file__).read_text())
    python = settings["python"]
    command = [
        *(python, str(waiter), "once", str(_lock(host, slot)), str(log(host, slot))),
        *(python, str(launcher)),
        *(python, "-m", "bentoml", "serve", settings["bento"]),
        *("--host", "127.0.0.1", "--port", str(host.slots[slot]), "--api-workers", "1"),
    ]
    environment = {
        launch.MARK: mark(host, slot),
        "GREENLIGHT_RELEASE": settings["release"],
        "GREENLIGHT_SLOT": slot,
        "GREENLIGHT_PREDICTIONS": str(host.predictions),
        DAYS_SETTING: str(days_kept(os.environ.get(DAYS_SETTING))),
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "true",
        "PYTHONPYCACHEPREFIX": str(Path(python).parents[1] / "pycache"),  # the store stays as it was verified
        "PYTHONUNBUFFERED": "1",
    }
    write_text(
        conf,
        f"""\
[program:{_program(host, slot)}]
command = {command_line(command)}
directory = {quoted(str(home))}
environment = {",".join(f'{name}="{quoted(value)}"' for name, value in environment.items())}
autorestart = true
startsecs = 0
startretries = 1000000
stopwaitsecs = {GRACE}
killasgroup = true
redirect_stderr = true
stdout_logfile = {quoted(str(log(host, slot)))}
stdout_logfile_maxbytes = 0
""",
    )


def quoted(text: str) -> str:
    """A value for supervisord, which expands %."""
    return text.replace("%", "%%")


def command_line(command: list[str]) -> str:
    """A command for supervisord."""
    return quoted(shlex.join(command))


def _wait_until_started(host: "Host", slot: str, within: float = 10.0) -> None:
    until = time.monotonic() + within
    while state(host, slot) != "RUNNING":
        if time.monotonic() > until:
            raise Refused(f"the supervisor does not start slot {slot}: {last_words(host, slot, 3)}")
        time.sleep(0.05)


def _home(host: "Host", slot: str) -> Path:
    return root(host) / slot


def _lock(host: "Host", slot: str) -> Path:
    return root(host) / f"{slot}.lock"  # not in its home, which each start makes anew


def _program(host: "Host", slot: str) -> str:
    return f"slot-{host.model}-{slot}"
