"""The move of an environment from one release to another, without losing a request.

Every step asks the world before it changes it. So a run that finds a move which was killed half-way starts it
at the top again (the same release is wanted) or turns it back (another one is).
"""

import time
import uuid
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from pipelines import params
from pipelines.console import step as say
from pipelines.delivery import checks, ledger
from pipelines.delivery.edge import Edge, Route
from pipelines.delivery.host import COLOURS, Host
from pipelines.delivery.journal import Journal, Move, held
from pipelines.delivery.slots import process
from pipelines.delivery.store import Store
from pipelines.errors import Refused, UserError
from pipelines.files import read_json
from pipelines.model import Golden


class Releases(Protocol):
    """Where releases come from: a store."""

    def get(self, release: str) -> Path:
        """The folder of a release, verified."""
        ...


def deploy(env: str, home: Path | None = None) -> int:
    """Move an environment to the release that the ledger wants: 0 when it has all traffic, 4 when refused.

    UserError where there is no host, nothing is wanted, or another deploy holds the environment.
    """
    host = Host.load(env, home)
    entry = ledger.wanted(env)
    if entry is None:
        raise UserError(
            f"the ledger wants nothing for {env} yet: run `ml release`, or `ml promote --env {env}`"
        )
    return move(host, entry.release, _store(home), why=entry.why)


def rollback(env: str, home: Path | None = None) -> int:
    """Have the ledger want the newest release that is safe to go back to, and move there; as `deploy`."""
    host = Host.load(env, home)
    history = ledger.history(env)
    release = safe(Journal(host.folder / "journal.jsonl"), history)
    known = [entry.model_dump(exclude={"by", "why", "at"}) for entry in history if entry.release == release]
    fields = known[0] if known else {"release": release, "commit": _commit(home, release)}
    ledger.write(env, ledger.Entry(**{**fields, "why": "rollback"}))
    say(f"{env}: the ledger now wants {release[:12]}")
    return deploy(env, home)


def safe(journal: Journal, history: Sequence[ledger.Entry]) -> str:
    """The newest release whose rollout completed, but not the wanted one nor one that was rolled back from.

    `history` is the ledger's, newest first. UserError where there is none.
    """
    barred = {history[0].release} if history else set()
    barred |= {older.release for newer, older in pairwise(history) if newer.why == "rollback"}
    for done in reversed([m for m in journal.moves() if m.result == "completed"]):
        if done.release not in barred:
            return done.release
    raise UserError(
        f"{journal.path} tells of no other release that completed its rollout: nothing to go back to"
    )


def move(host: Host, release: str, releases: Releases, why: str = "release") -> int:
    """Move a host to a release: 0 when it has all traffic, 4 when it was refused, traffic being as before."""
    limits = params.load().rollout
    with held(host.folder, f"the deploy of {release[:12]}"):
        _require(host)
        journal = Journal(host.folder / "journal.jsonl")
        half_way = next((m for m in reversed(journal.moves()) if m.result is None), None)
        if half_way:
            rollout = Rollout(host, releases, journal, half_way, limits)
            if half_way.release == release and not half_way.failing:
                say(f"{host.environment}: the move to {release[:12]} was killed half-way; going on with it")
                return rollout.run()
            if "watch" in rollout.done:
                rollout.finish()
            else:
                code = rollout.turn_back(half_way.failing or f"killed, and {release[:12]} is wanted now")
                if half_way.release == release:
                    return code
        if live := _live(host, release):
            say(f"{host.environment}: {release[:12]} is already live on {live}")
            return 0
        return Rollout(host, releases, journal, _begin(host, journal, release, why), limits).run()


def status(env: str, home: Path | None = None) -> int:
    """Print what is wanted, what runs, and where the two differ."""
    host = Host.load(env, home)
    entry, route = ledger.wanted(env), host.edge.route()
    wanted = entry.release if entry else None
    print(f"{env}: {host.edge_url}")
    print(f"  wanted   {wanted[:12] if wanted else 'nothing'}")
    print(f"  traffic  {f'{route.release[:12]} on {route.slot}' if route else 'nothing'}")
    for colour in COLOURS:
        runs = process.running(host, colour)
        health = "healthy" if host.edge.ready() and host.edge.healthy(colour) else "not healthy"
        print(f"  {colour:8} {f'{runs[:12]}, {health}' if runs else 'stopped'}")
    if not host.edge.ready():
        print(f"  differs: the edge does not answer; run `ml infra up --env {env}`")
    elif wanted != (route.release if route else None):
        print(f"  differs: run `ml deploy --env {env}`")
    elif route and not host.edge.healthy(route.slot):
        print(f"  differs: the live slot is not healthy; run `ml deploy --env {env}`")
    half_way = [m for m in Journal(host.folder / "journal.jsonl").moves() if m.result is None]
    for unfinished in half_way:
        print(f"  unfinished: the move to {unfinished.release[:12]} of {unfinished.at}")
    return 0


class Rollout:
    """One move under way."""

    def __init__(
        self, host: Host, releases: Releases, journal: Journal, under_way: Move, limits: params.Rollout
    ) -> None:
        self.host, self.releases, self.journal, self.limits = host, releases, journal, limits
        self.id, self.release, self.slot, self.origin = (
            under_way.id,
            under_way.release,
            under_way.slot,
            Route(**under_way.origin) if under_way.origin else None,
        )
        self.errors_before = int((under_way.fact("golden rows") or {}).get("errors", 0))
        self.done = {step for step, _ in STEPS if under_way.fact(step)}
        self.edge: Edge = host.edge
        self.url = f"http://127.0.0.1:{host.slots[self.slot]}"
        self.folder = Path()

    def run(self) -> int:
        """The story of a move. Any failure brings traffic back, whatever the step."""
        say(f"{self.host.environment}: {self.release[:12]} goes to {self.slot}, {self._from()}")
        try:
            for name, do in STEPS:
                self.journal.write(self.id, "intent", step=name)
                self.journal.write(self.id, "fact", step=name, **(do(self) or {}))
                self.done.add(name)
        except (Refused, UserError, OSError) as error:
            return self.turn_back(str(error))
        except Exception as error:
            self.turn_back(f"a bug, {error!r}")
            raise
        self.journal.write(self.id, "end", result="completed")
        say(f"{self.host.environment}: {self.release[:12]} is live on {self.slot} at {self.edge.url}")
        return 0

    def fetch(self) -> None:
        """The release, verified, from the store."""
        self.folder = self.releases.get(self.release)
        self.golden = Golden.load(self.folder / "bento" / "src" / "models" / "golden.json")

    def start(self) -> None:
        """The idle slot serves the release; nobody asks it yet."""
        if process.running(self.host, self.slot) != self.release:
            process.stop(self.host, self.slot)
            self._wait(lambda: not self.edge.healthy(self.slot), 10, "is still called healthy after its stop")
            process.start(self.host, self.slot, self.release, self.folder)

    def become_healthy(self) -> None:
        """By the edge's own checks, and not because of what ran on the port before."""
        self._wait(self._is_healthy, self.limits.healthy_within, "is not healthy")

    def ask_golden_rows(self) -> dict[str, Any]:
        """Answers as when the model was trained."""
        difference = checks.golden_rows(self.url, self.release, self.golden)
        say(f"{self.slot}: {len(self.golden.rows)} golden rows, max |Δp| {difference:.2g}")
        if "golden rows" not in self.done:
            self.errors_before = self.edge.stats(self.slot).errors
        return {"max_dp": difference, "errors": self.errors_before}

    def flip(self) -> None:
        """Traffic goes to the new slot; the old one stands behind it while it is watched."""
        fallback = self.origin.slot if self.origin else None
        if "watch" in self.done:
            return
        self.edge.route_to(Route(self.slot, self.release, fallback))

    def watch(self) -> None:
        """The edge's count of failures on the new slot stays where it was, with at least our own requests."""
        if "watch" in self.done:
            return
        now = first = self.edge.stats(self.slot)
        before = min(self.errors_before, first.errors)  # an edge that was started anew counts from zero
        until = time.monotonic() + self.limits.watch
        while time.monotonic() < until or now.total == first.total:
            answered = checks.answers(self.edge.url)
            now = self.edge.stats(self.slot)
            if now.errors > before:
                raise Refused(
                    f"{self.slot} failed at {now.errors - before} of {now.total - first.total} requests"
                )
            if answered != self.release or not self.edge.healthy(self.slot):
                raise Refused(f"{self.slot} is no longer healthy; {answered[:12]} answered in its place")
            time.sleep(0.2)
        say(f"{self.slot}: {now.total - first.total} requests in {self.limits.watch:g} s, none failed")

    def settle(self) -> None:
        """From here on there is no way back but another move."""
        self.edge.route_to(Route(self.slot, self.release))

    def retire(self) -> None:
        """The old slot ends once no request is in flight there."""
        if self.origin:
            self._stop(self.origin.slot)

    def turn_back(self, reason: str) -> int:
        """Traffic stays or returns where it was, and the new slot ends. Returns 4.

        Refused once the watch is over: the old slot may be gone, so the next run can only go forward.
        """
        where = self.host.environment
        if "watch" in self.done:
            raise Refused(f"{self.release[:12]} has the traffic of {where}, but {reason}: run the same again")
        say(f"{where}: {self.release[:12]} is refused: {reason}")
        self.journal.write(self.id, "turn-back", reason=reason)
        words = process.last_words(self.host, self.slot)
        if self._can_return():
            self.edge.route_to(self.origin)
            self._stop(self.slot)
            to = (
                f"is with {self.origin.release[:12]} on {self.origin.slot}" if self.origin else "goes nowhere"
            )
        else:  # the edge has both to choose from
            to = f"stays on {self.slot}, because {self.origin} is not healthy either"
        self.journal.write(self.id, "end", result="failed", reason=reason)
        if words:
            say(f"the last lines of slot {self.slot}:\n{words}")
        say(f"{where}: traffic {to}")
        return 4

    def finish(self) -> None:
        """Complete a move that was killed after its watch, although another release is wanted now."""
        self.settle()
        self.retire()
        self.journal.write(self.id, "end", result="completed")

    def _can_return(self) -> bool:
        flipped = self.edge.route() != self.origin
        return not flipped or self.origin is None or self.edge.healthy(self.origin.slot)

    def _stop(self, slot: str) -> None:
        if process.running(self.host, slot):
            left = self.edge.drain(slot, self.limits.drain_within)
            if left:
                say(f"{slot}: {left} requests still in flight after {self.limits.drain_within:g} s")
        process.stop(self.host, slot)

    def _is_healthy(self) -> bool:
        state = self.host.supervisor.state(f"slot-{self.slot}")
        if state in ("EXITED", "FATAL", "BACKOFF"):
            raise Refused(f"slot {self.slot} ended by itself ({state})")
        return self.edge.healthy(self.slot)

    def _wait(self, until: Callable[[], bool], within: float, otherwise: str) -> None:
        end = time.monotonic() + within
        while not until():
            if time.monotonic() > end:
                raise Refused(f"slot {self.slot} {otherwise} within {within:g} s")
            time.sleep(0.1)

    def _from(self) -> str:
        if self.origin is None:
            return "the first release here"
        return f"{self.origin.release[:12]} on {self.origin.slot} keeps the traffic until then"


STEPS: list[tuple[str, Callable[[Rollout], dict[str, Any] | None]]] = [
    ("fetch", Rollout.fetch),
    ("start", Rollout.start),
    ("healthy", Rollout.become_healthy),
    ("golden rows", Rollout.ask_golden_rows),
    ("flip", Rollout.flip),
    ("watch", Rollout.watch),
    ("settle", Rollout.settle),
    ("retire", Rollout.retire),
]


def _begin(host: Host, journal: Journal, release: str, why: str) -> Move:
    """A new move, to the slot that has no traffic."""
    route = host.edge.route()
    slot = COLOURS[1] if route and route.slot == COLOURS[0] else COLOURS[0]
    origin = {"slot": route.slot, "release": route.release} if route else None
    id = uuid.uuid4().hex[:12]
    journal.write(id, "begin", **{"release": release, "slot": slot, "from": origin, "why": why})
    return journal.moves()[-1]


def _require(host: Host) -> None:
    if not (host.supervisor.alive() and host.edge.ready()):
        raise UserError(
            f"the supervisor or the edge of {host.environment} does not answer: "
            f"run `ml infra up --env {host.environment}`"
        )


def _live(host: Host, release: str) -> str | None:
    """The slot that serves the release to callers, in health."""
    route = host.edge.route()
    serves = route and route.release == release and process.running(host, route.slot) == release
    return route.slot if route and serves and host.edge.healthy(route.slot) else None


def _store(home: Path | None) -> Store:
    return Store(home / "store") if home else Store()


def _commit(home: Path | None, release: str) -> str:
    return str(read_json(_store(home).get(release) / "release.json")["commit"])
