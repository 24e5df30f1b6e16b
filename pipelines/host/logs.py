"""`ml logs`: what the slots, the edge and the supervisor of an environment wrote."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines.base.errors import UserError
from pipelines.host.host import Host

POLL_SECONDS = 0.2


def show(env: str, model: str, slot: str | None = None, lines: int = 20, follow: bool = False) -> None:
    """Print the last lines of each log, each after its name (of one slot without); `follow`: until Ctrl-C.

    UserError where there is no such log."""
    host = Host.load(env, model)
    files = {"supervisor": host.folder / "supervisor" / "supervisord.log"}
    files |= {"edge": host.folder / "edge" / "envoy.log", **{of.colour: of.log for of in host.slots}}
    logs = [Log(name, file) for name, file in files.items() if slot in (None, name)]
    if not any(log.path.exists() for log in logs):
        what = f"slot {slot} of {env} has" if slot else f"{env} has"
        raise UserError(f"{what} no log yet: `ml deploy --env {env}` starts a slot")
    width = 0 if slot else max(len(log.name) for log in logs)
    try:
        for log in logs:
            _print(log, log.last(lines), width)
        while follow:
            time.sleep(POLL_SECONDS)
            for log in logs:
                _print(log, log.new(), width)
    except KeyboardInterrupt:
        pass


@dataclass
class Log:
    """A log that is emptied in place when it is too long, and made anew when a slot starts."""

    name: str
    path: Path
    inode: int = 0
    read: int = 0  # bytes

    def last(self, lines: int) -> list[str]:
        """The last lines, those that were set aside before among them; `new` goes on after them."""
        aside = self.path.with_name(f"{self.path.name}.1")
        before = aside.read_text(errors="replace").splitlines() if aside.exists() else []
        found = [*before, *self.new()]
        return found[max(0, len(found) - lines) :]

    def new(self) -> list[str]:
        """The whole lines that were written since the last look."""
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                if about.st_ino != self.inode or about.st_size < self.read:
                    self.inode, self.read = about.st_ino, 0
                file.seek(self.read)
                whole, end, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self.read += len(whole + end)
        return whole.decode(errors="replace").splitlines() if end else []


def _print(log: Log, lines: list[str], width: int) -> None:
    for line in lines:
        print(f"{log.name.ljust(width)} | {line}" if width else line, flush=True)
