"""`ml watch`: follow the ledger and deploy what it names. The host pulls, so nobody holds a key to it.

A round looks at the ledger and at what runs, and moves where they differ. Whatever a round meets (no network,
a rewritten branch, a broken file, a bug), what runs stays, and a line says so when that begins and ends.
"""

import contextlib
import getpass
import random
import re
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from pipelines.base import machine
from pipelines.base.console import step as say
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import write_text
from pipelines.base.signals import Interrupted, interruptible
from pipelines.core.contract import Contract
from pipelines.host import services, terraform, trust
from pipelines.host.host import Host
from pipelines.registry.ledger import BRANCH, Ledger, Look, Unreachable
from pipelines.rollout import deploy
from pipelines.rollout.journal import Journal

FARTHEST_SECONDS = 300.0  # between two looks at a remote that stays out of reach
JITTER = 0.25  # so much more or less, by chance: hosts that start together do not ask together
BUGS = 5  # rounds in a row that end the watch; systemd starts it anew
AGAIN_SECONDS = 2.0  # in which the supervisor brings back an edge that died
LATE_SECONDS = 15.0  # after which a look that is due is missed
FILE = "watch.json"
UNIT = terraform.LOCAL / "greenlight-watch@.service"


def watch(
    env: str, contract: Contract, every: float = 30, once: bool = False, home: Path | None = None
) -> int:
    """Deploy what the ledger names, until SIGTERM or SIGINT; with `once`, after one look.

    Returns 0, or 1 after BUGS rounds in a row that ended in a bug. With `once`: 0 when the wanted release
    runs, 3 when its rollout is held; Refused (4) when it was refused, UserError (2) when the ledger cannot be
    followed. UserError, too, where there is no such host."""
    watcher = Watch(env, contract, every, home)
    try:
        with interruptible():  # SIGINT too, which is ignored where a shell started us in background
            return watcher.once() if once else watcher.follow()
    except Interrupted:
        if once:
            raise
        say(f"{env}: the watch ends; what runs goes on")
        return 0


def pause(every: float, unreached: int = 0) -> float:
    """Seconds until the next look: `every`, times 0.75 to 1.25 by chance; doubled for each look in a row that
    found the remote out of reach, up to FARTHEST_SECONDS (or `every`, if longer)."""
    doubled = every * 2.0 ** min(unreached, 30)
    return min(doubled, max(FARTHEST_SECONDS, every)) * random.uniform(1 - JITTER, 1 + JITTER)


class Trouble(BaseModel):
    """Why the environment is not at what the ledger names; `kind` tells one trouble from another."""

    kind: str
    why: str
    since: datetime


class Refusal(BaseModel):
    """A release that the rollout refused: not tried again until another commit writes the entry."""

    commit: str  # of the ledger
    release: str
    why: str


class Seen(BaseModel):
    """What a watch knows, in ENVIRONMENT/watch.json: it outlives a restart, and `ml status` shows it."""

    looked: datetime | None = None
    again: datetime | None = None  # when it looks next; None in a round, and after `--once`
    doing: str = ""
    head: str | None = None  # the last commit of the ledger that was followed
    rewritten: str | None = None  # the first one that does not come after `head`
    refused: Refusal | None = None
    trouble: Trouble | None = None

    @classmethod
    def load(cls, host: Host) -> "Seen | None":
        """What is there; None where there is nothing, or nothing readable (the ledger tells it all again)."""
        try:
            return cls.model_validate_json((host.place / FILE).read_bytes())
        except (OSError, ValidationError):
            return None

    @property
    def late(self) -> bool:
        """Whether a look that is due was missed."""
        return self.again is not None and (datetime.now(UTC) - self.again).total_seconds() > LATE_SECONDS


def told(host: Host) -> str:
    """What `ml status` shows of the watch, in one line; empty where none ever ran here."""
    seen = Seen.load(host)
    if seen is None:
        return ""
    looked = f"looked {_ago(seen.looked)} ago" if seen.looked else "has not reached the ledger yet"
    told = [seen.doing or looked]
    if seen.late:
        told = [f"{looked} and should have again: is `ml watch` running?"]
    if seen.head:
        told.append(f"ledger {seen.head[:12]}")
    if seen.trouble:
        told.append(f"for {_ago(seen.trouble.since)}: {seen.trouble.why}")
    return ", ".join(told)


class Watch:
    """The watch of one environment."""

    def __init__(self, env: str, contract: Contract, every: float = 30.0, home: Path | None = None) -> None:
        self.env, self.contract, self.every, self.home = env, contract, every, home
        self.host = Host.load(env, contract.name, home)
        self.seen = Seen.load(self.host) or Seen()
        self.seen.trouble = None  # so that the log of each start says what is wrong
        self.unreached = self.bugs = 0

    def follow(self) -> int:
        """Round after round. Returns 1 when too many of them ended in a bug."""
        say(f"{self.env}: follows the branch {BRANCH}, every {self.every:g} s; {self._runs()}")
        while True:
            self.round()
            if self.bugs == BUGS:
                say(f"{self.env}: {BUGS} rounds in a row ended in a bug: the watch gives up")
                return 1
            wait = pause(self.every, self.unreached)
            self._save(again=datetime.fromtimestamp(time.time() + wait, UTC))
            time.sleep(wait)

    def once(self) -> int:
        """One look; what is wrong is raised."""
        try:
            return self._look()
        finally:
            self._save(again=None)

    def round(self) -> None:
        """One look, whatever comes of it."""
        trouble = None
        unreached, bugs, self.unreached, self.bugs = self.unreached, self.bugs, 0, 0
        try:
            if self._look() == 3:
                trouble = "held", "the rollout is held: it goes on at the next look"
        except Unreachable as error:
            self.unreached = unreached + 1
            trouble = "unreachable", str(error)  # git words it in many ways
        except (UserError, Refused, OSError) as error:
            trouble = str(error), str(error)
        except Exception as error:
            self.bugs = bugs + 1
            traceback.print_exc(file=sys.stderr)
            trouble = repr(error), f"a bug, {error!r}"
        self._tell(trouble)

    def _look(self) -> int:
        """Look, and move where it is called for: 0 when the wanted release runs, 3 when it is held."""
        self._save(again=None)
        self.host = Host.load(self.env, self.contract.name, self.home)
        if not services.alive(self.host):  # an edge that only died is back in a moment, by its supervisor
            time.sleep(AGAIN_SECONDS)
            if not services.alive(self.host):  # after a reboot nothing runs
                terraform.up(self.env, self.contract.name, self.home)
        found = (ledger := Ledger()).look(self.env)
        self.seen.looked = datetime.now(UTC)
        if found is None:
            raise UserError(f"the ledger names no release for {self.env}")
        route = self.host.edge.route()
        runs = route is not None and route.release == found.entry.release
        self._require_trust(ledger, found, runs)
        self.seen.head, self.seen.rewritten = found.head, None
        half_way = Journal(self.host.place).half_way()
        if half_way and half_way.paused and half_way.release == found.entry.release:
            way_on = f"`ml deploy --env {self.env}` goes on with it"
            raise UserError(f"a person paused the rollout ({half_way.waits}): {way_on}")
        if half_way is None and runs:
            self.seen.refused = None
            return 0
        if half_way is None and self.seen.refused and self.seen.refused.commit == found.commit:
            raise self._refused(self.seen.refused)
        return self._deploy(found)

    def _require_trust(self, ledger: Ledger, found: Look, runs: bool) -> None:
        """UserError where the entry would move the host and is not to be followed."""
        if trust.signers(self.host.folder) is None:
            if not runs:
                self._require_history(ledger, found)
            return
        try:
            trust.believe(self.host, ledger, found)
        except UserError:
            if not runs:
                raise

    def _require_history(self, ledger: Ledger, found: Look) -> None:
        """UserError where the branch is not what was followed before with commits on top.

        A forced push of an old clone would else deploy an old release. Over once the environment's entry is
        written again on top of it, or a person deployed what it names."""
        before, head = self.seen.head, found.head
        if before is None or ledger.holds(head, before):
            return
        first = self.seen.rewritten
        if first and ledger.holds(head, first) and not ledger.holds(first, found.commit):
            return
        if first is None or not ledger.holds(head, first):
            self.seen.rewritten = head
        why = f"{(self.seen.rewritten or head)[:12]} does not come after {before[:12]}"
        way_out = f"write {self.env}.json once more, or run `ml deploy --env {self.env}` here"
        raise UserError(f"the branch {BRANCH} was rewritten ({why}): {way_out}")

    def _deploy(self, found: Look) -> int:
        release = found.entry.release
        self._save(again=None, doing=f"deploys {release[:12]} since {datetime.now(UTC):%H:%M:%S} UTC")
        try:
            code = deploy.deploy(self.env, self.contract, self.home)
        finally:
            self.seen.doing = ""
        self.seen.refused = None
        if code == 4:
            moves = Journal(self.host.place).moves()
            why = (moves[-1].failing if moves else None) or "the journal says why"
            self.seen.refused = Refusal(commit=found.commit, release=release, why=why)
            raise self._refused(self.seen.refused)
        return code

    def _refused(self, refusal: Refusal) -> Refused:
        return Refused(
            f"{refusal.release[:12]} was refused ({refusal.why}): it is tried again when another commit "
            f"writes {self.env}.json, or by `ml deploy --env {self.env}`"
        )

    def _tell(self, trouble: tuple[str, str] | None) -> None:
        """A line when a trouble begins and when it ends, not one a round."""
        known = self.seen.trouble
        if known and (trouble is None or trouble[0] != known.kind):
            say(f"{self.env}: over after {_ago(known.since)}: {known.why}")
            self.seen.trouble = None
        if trouble and self.seen.trouble is None:
            self.seen.trouble = Trouble(kind=trouble[0], why=trouble[1], since=datetime.now(UTC))
            say(f"{self.env}: {trouble[1]}; {self._runs()}")

    def _runs(self) -> str:
        try:
            route = self.host.edge.route()
        except (UserError, OSError):
            return "what runs cannot be read"
        return f"{route.release[:12]} runs on {route.slot}" if route else "nothing runs"

    def _save(self, again: datetime | None, doing: str = "") -> None:
        self.seen.again, self.seen.doing = again, doing
        with contextlib.suppress(OSError):  # a full disk must not end the watch; status shows that it is late
            write_text(self.host.place / FILE, self.seen.model_dump_json(indent=2) + "\n")


def unit() -> str:
    """The systemd unit of infra/local for this checkout, this user and this $GREENLIGHT_HOME."""
    text = UNIT.read_text(encoding="utf-8")
    values = {"USER": getpass.getuser(), "CHECKOUT": str(terraform.ROOT), "HOME": str(machine.home())}
    for name, value in values.items():
        if re.search(r"[\s\"'\\$%]", value):
            raise UserError(f"{value!r} has a character that a systemd unit cannot name: move it elsewhere")
        text = text.replace(f"@{name}@", value)
    return text


def _ago(since: datetime) -> str:
    seconds = max(0, round((datetime.now(UTC) - since).total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
