"""The move of an environment from one release to another, without losing a request.

What a move does are the steps of `steps.STEPS`; here they are run, held, undone and gone on with. A run that
finds a move which was left half-way starts it at the top again, where the same release is wanted, or turns it
back, where another one is.
"""

import errno
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from pipelines import params
from pipelines.console import step as say
from pipelines.console import summary
from pipelines.delivery import checks, merged, registry, trust
from pipelines.delivery import host as hosts
from pipelines.delivery import store as stores
from pipelines.delivery.edge import Counters, Edge, Route
from pipelines.delivery.host import COLOURS, Host
from pipelines.delivery.journal import Journal, Move, held
from pipelines.delivery.signals import Interrupted, finishing, interruptible
from pipelines.delivery.slots import process
from pipelines.delivery.steps import NAMES, STEPS, Held, Step
from pipelines.errors import Refused, UserError

HELD, REFUSED = 3, 4
RECOVERS = 10.0  # seconds that the slot of before gets to be healthy again, where traffic is to return to it
ENDS = 2  # times that a server may end before it is ready: the first time a port may have been taken


class Releases(Protocol):
    """Where releases come from: a store."""

    def get(self, release: str) -> Path:
        """The folder of a release, verified."""
        ...

    def has(self, release: str) -> bool:
        """Whether the release can be had."""
        ...


def deploy(env: str, home: Path | None = None, plan: bool = False, pause_before: str | None = None) -> int:
    """Move an environment to the release that the ledger wants: 0 when it has all traffic, 4 when refused,
    3 when it waits (for callers, or before the step `pause_before`).

    With `plan` only tells what would happen. UserError where there is no host, nothing is wanted, what is
    wanted is not to be believed or is no merged commit's release, or another deploy holds the environment.
    """
    pause = _named(pause_before)
    host = Host.load(env, home)
    entry = trust.wanted(host)
    if entry is None:
        verb = "ml promote" if env == "production" else "ml release"
        raise UserError(f"the ledger wants nothing for {env} yet: run `{verb} --env {env}`")
    store = stores.of(home)
    if not _live(host, entry.release):
        merged.check(entry, store.get(entry.release))
    if plan:
        return tell(host, entry.release, store, entry.why)
    code = move(host, entry.release, store, entry.why, pause)
    for last in host.journal.moves()[-1:]:
        summary("\n".join(last.table(env)))
    return code


def move(
    host: Host, release: str, releases: Releases, why: str = "release", pause_before: str | None = None
) -> int:
    """Move a host to a release: 0 when it has all traffic; 3 when it waits; 4 when it was refused, traffic
    being as before; 130 or 143 after a signal, the step in hand being undone. The same again goes on.
    """
    limits = params.load().rollout
    try:
        with held(host.place, f"the deploy of {release[:12]}", host.environment), interruptible():
            _require(host)
            journal = host.journal
            if not _live(host, release):
                releases.get(release)  # before anything moves: the store may be out of reach
            if half_way := journal.half_way():
                rollout = Rollout(host, releases, journal, half_way, limits)
                if half_way.release == release and not half_way.failing:
                    say(f"{host.environment}: the move to {release[:12]} was left half-way; going on with it")
                    return rollout.run(pause_before)
                code = rollout.make_way(f"{release[:12]} is wanted now")
                if half_way.release == release:
                    return code
            if live := _live(host, release):
                say(f"{host.environment}: {release[:12]} is already live on {live}")
                return 0
            return Rollout(host, releases, journal, _begin(host, journal, release, why), limits).run(
                pause_before
            )
    except Interrupted as signal:
        say(f"{host.environment}: ended by {signal}; run the same again to go on")
        return signal.exit_code
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = error.filename or host.place
        raise UserError(f"{where}: {error.strerror}: mend that, then run the same again to go on") from None


def tell(host: Host, release: str, releases: Releases, why: str = "release") -> int:
    """Print what `move` would do. Returns 0."""
    limits, journal = params.load().rollout, host.journal
    half_way = journal.half_way()
    if half_way and (half_way.release != release or half_way.failing):
        print(f"{host.environment}: first the move to {half_way.release[:12]}, left half-way, is turned back")
        half_way = None
    if not half_way and _live(host, release):
        print(f"{host.environment}: {release[:12]} is already live: nothing to do")
        return 0
    rollout = Rollout(host, releases, journal, half_way or _intended(host, release, why), limits)
    print(f"{host.environment}: {release[:12]} ({rollout.why}) to {rollout.slot}, {rollout.begins()}")
    for step in STEPS:
        reason = step.skip(rollout)
        done = "done; " if step.name in rollout.done else ""
        print(f"  {step.name:8} {done}{f'left out: {reason}' if reason else step.says(rollout)}")
    print(
        "  ROLLBACK where a step refuses: its work and that of the steps before it is undone, traffic first"
    )
    return 0


class Rollout:
    """One move under way."""

    id: str
    release: str
    slot: str
    why: str
    origin: Route | None
    limits: params.Rollout

    def __init__(
        self, host: Host, releases: Releases, journal: Journal, under_way: Move, limits: params.Rollout
    ) -> None:
        self.host, self.releases, self.journal, self.limits = host, releases, journal, limits
        self.id, self.release, self.slot, self.why = (
            under_way.id,
            under_way.release,
            under_way.slot,
            under_way.why,
        )
        self.origin = Route(**under_way.origin) if under_way.origin else None
        self.failing = under_way.failing
        self.done = {step.name for step in STEPS if under_way.fact(step.name)}
        self.edge: Edge = host.edge
        self.url = process.url(host, self.slot)
        self.folder = Path()
        self._before = under_way
        self._ended: set[int] = set()

    def run(self, pause_before: str | None = None) -> int:
        """The story of a move. Any failure brings traffic back, whatever the step."""
        say(f"{self.host.environment}: {self.release[:12]} goes to {self.slot}, {self.begins()}")
        step = STEPS[0]
        try:
            for step in self._ahead():
                if step.name == pause_before:
                    return self._pause(step)
                self._do(step)
        except Held as reason:
            return self._hold(step, str(reason))
        except Interrupted as signal:
            self._leave(step, str(signal))
            raise
        except (Refused, UserError, OSError) as error:
            return self.turn_back(str(error))
        except Exception as error:
            self.turn_back(f"a bug, {error!r}")
            raise
        return self._complete()

    def turn_back(self, reason: str, refused: bool = True) -> int:
        """Undo the steps, the last one first; traffic stays or returns where it was. Returns 4.

        Refused once the bake is over: the old slot may be gone, so the next run can only go forward.
        """
        where = self.host.environment
        if "BAKE" in self.done:
            raise Refused(f"{self.release[:12]} has the traffic of {where}, but {reason}: run the same again")
        say(f"{where}: {self.release[:12]} is {'refused' if refused else 'turned back'}: {reason}")
        words = process.last_words(self.host, self.slot)
        full = None if self.failing else self._note("turn-back", reason=reason)
        if self._can_return():
            for step in reversed(STEPS):
                with finishing():
                    step.undo(self)
            to = (
                f"is with {self.origin.release[:12]} on {self.origin.slot}" if self.origin else "goes nowhere"
            )
        else:  # the edge has both to choose from
            to = f"stays as it is, because {self.origin.slot if self.origin else None} is not healthy either"
        full = self._note("end", result="failed", reason=reason) or full
        if words and refused:
            say(f"the last lines of slot {self.slot}:\n{words}")
        say(f"{where}: traffic {to}")
        if full:
            raise full
        return REFUSED

    def make_way(self, reason: str) -> int:
        """End a move that was left half-way, because another one is to begin."""
        if "BAKE" in self.done:
            self._do(STEPS[-1])
            return self._complete()
        return self.turn_back(self.failing or f"left half-way, and {reason}", bool(self.failing))

    def begins(self) -> str:
        """Where traffic is before the move, in words."""
        if self.origin is None:
            return "the first release here"
        if "FLIP" in self.done:
            return "which has the traffic already"
        return f"{self.origin.release[:12]} on {self.origin.slot} keeps the traffic until then"

    # What the steps ask for

    def fetch(self) -> None:
        """The release's folder, verified, from the store."""
        self.folder = self.releases.get(self.release)

    def live_folder(self) -> Path | None:
        """The live release's folder, verified; None where the store does not have it any more."""
        has = self.origin and self.releases.has(self.origin.release)
        return self.releases.get(self.origin.release) if self.origin and has else None

    def first_intent(self, step: str) -> str:
        """When the move first came to a step: an ISO 8601 time."""
        return self.journal.move(self.id).intent(step) or self._before.at

    def fact(self, step: str) -> dict[str, Any]:
        """What was known of a step when it was first finished."""
        return self.journal.move(self.id).fact(step) or {}

    def record_of_live(self) -> Counters:
        """What the edge has counted for the live slot since its own rollout ended."""
        if self.origin is None:
            return Counters()
        ended = self.journal.counted(self.origin.release, self.origin.slot)
        return self.edge.counters(self.origin.slot).since(Counters.parse(ended))

    def is_healthy(self) -> bool:
        """By the edge's own checks. Refused where the process ended, and ended again after its restart."""
        if ended := process.ended(self.host, self.slot):
            self._ended.add(ended)
        if len(self._ended) >= ENDS:
            raise Refused(f"slot {self.slot} ended by itself, {len(self._ended)} times")
        return self.edge.healthy(self.slot)

    def wait(self, until: Callable[[], bool], within: float, otherwise: str) -> None:
        """Refused when `until` is not true within so many seconds."""
        end = time.monotonic() + within
        while not until():
            if time.monotonic() > end:
                raise Refused(f"slot {self.slot} {otherwise} within {within:g} s")
            time.sleep(0.1)

    def stop(self, slot: str) -> int:
        """End a slot once nothing is in flight there; returns how many requests still were."""
        left = 0
        if process.running(self.host, slot):
            left = self.edge.drain(slot, self.limits.drain_within)
            if left:
                say(f"{slot}: {left} requests still in flight after {self.limits.drain_within:g} s")
        process.stop(self.host, slot)
        return left

    # How a move goes on, and how it ends

    def _ahead(self) -> list[Step]:
        """The steps to do; after the bake only the last one, since there is no way back."""
        if "BAKE" in self.done:
            return list(STEPS[-1:])
        return [step for step in STEPS if not (step.once and step.name in self.done)]

    def _do(self, step: Step) -> None:
        if reason := step.skip(self):
            self.journal.write(self.id, "fact", step=step.name, skipped=reason)
        else:
            self.journal.write(self.id, "intent", step=step.name)
            self.journal.write(self.id, "fact", step=step.name, **step.do(self))
        self.done.add(step.name)

    def _complete(self) -> int:
        counted = self.edge.counters(self.slot)
        self.journal.write(self.id, "end", result="completed", counted=asdict(counted))
        say(f"{self.host.environment}: {self.release[:12]} is live on {self.slot} at {self.edge.model_url}")
        if self.host.environment == "production":
            registry.champion(self.releases.get(self.release))
        return 0

    def _hold(self, step: Step, reason: str) -> int:
        self.journal.write(self.id, "hold", step=step.name, reason=reason)
        say(f"{self.host.environment}: {step.name} waits: {reason}; run the same again to go on")
        return HELD

    def _pause(self, step: Step) -> int:
        self.journal.write(self.id, "pause", step=step.name)
        where = self.host.environment
        say(f"{where}: paused before {step.name}; `ml deploy --env {where}` goes on")
        if "PREPARE" in self.done:
            at = self.edge.preview(self.slot) if self.origin else self.url
            print(f"preview of {self.slot}: {at}/predict")
        return HELD

    def _leave(self, step: Step, signal: str) -> None:
        with finishing():
            step.undo(self)
            self.journal.write(self.id, "interrupted", step=step.name, by=signal)
        route = self.edge.route()
        traffic = f"{route.release[:12]} on {route.slot} has the traffic" if route else "nothing has traffic"
        say(f"{self.host.environment}: {step.name} was undone after {signal}; {traffic}")

    def _note(self, event: str, **details: Any) -> OSError | None:
        """Journal it, or return why that failed: a full disk must not keep traffic from returning."""
        try:
            self.journal.write(self.id, event, **details)
        except OSError as error:
            return error
        return None

    def _can_return(self) -> bool:
        """Whether the slot of before can have the traffic. One that only stalls gets some time for it; one
        that hangs is ended, and started again by the supervisor.
        """
        route = self.edge.route()
        if self.origin is None or route is None or route.slot == self.origin.slot:
            return True
        if self._heals(self.origin.slot, RECOVERS):
            return True
        say(f"{self.origin.slot} is not healthy either: starting it again")
        process.restart(self.host, self.origin.slot)
        return self._heals(self.origin.slot, self.limits.healthy_within)

    def _heals(self, slot: str, within: float) -> bool:
        until = time.monotonic() + within
        while not (healthy := self.edge.healthy(slot)) and time.monotonic() < until:
            time.sleep(0.1)
        return healthy


def _begin(host: Host, journal: Journal, release: str, why: str) -> Move:
    """A new move, to the slot that has no traffic."""
    new = _intended(host, release, why)
    details = {"release": new.release, "slot": new.slot, "from": new.origin, "why": new.why}
    journal.write(new.id, "begin", **details)
    return journal.move(new.id)


def _intended(host: Host, release: str, why: str) -> Move:
    route = host.edge.route()
    slot = COLOURS[1] if route and route.slot == COLOURS[0] else COLOURS[0]
    origin = {"slot": route.slot, "release": route.release} if route else None
    why = "rollback" if host.journal.goes_back(release) else "release" if why == "rollback" else why
    return Move(uuid.uuid4().hex[:12], release, slot, origin, why, "")


def _named(step: str | None) -> str | None:
    if step is not None and step.upper() not in NAMES:
        raise UserError(f"--pause-before {step!r} is no step: they are {', '.join(NAMES)}")
    return step.upper() if step else None


def _require(host: Host) -> None:
    """What died comes back, around what still serves. UserError where it does not."""
    if not hosts.alive(host):
        say(f"{host.environment}: the supervisor or the edge was down, starting it")
        try:
            with held(host.folder, "another revival", host.environment):
                hosts.revive(host)
        except (Refused, OSError) as error:
            raise UserError(f"{error}: run `ml infra up --env {host.environment}`") from None


def _live(host: Host, release: str) -> str | None:
    """The slot that serves the release to callers, in health: what is written is asked of slot and edge."""
    route = host.edge.route()
    if route is None or route.release != release or process.running(host, route.slot) != release:
        return None
    asked = (process.url(host, route.slot), host.edge.model_url)
    serves = host.edge.healthy(route.slot) and all(checks.serves(url, release) for url in asked)
    return route.slot if serves else None
