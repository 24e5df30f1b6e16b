"""A host for the benchmarks of delivery: real edge, supervisor and slots, small releases, and its callers."""

import contextlib
import functools
import operator
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from benchmarks import _load
from pipelines.base.errors import Refused, UserError
from pipelines.core import params
from pipelines.edge.edge import Edge, Route
from pipelines.host import terraform
from pipelines.host.host import COLOURS, Host
from pipelines.host.slots import launch, process
from pipelines.registry.store import Store
from pipelines.rollout import deploy
from pipelines.rollout.journal import Journal
from pipelines.rollout.rehearse import lend
from tests.delivery import tiny

ENVIRONMENT: params.Environment = "staging"
QUIET: dict[str, Any] = {"slow": 0.0, "silent": True}  # of a tiny release: no wait of its own, no log
SHARES = {_load.KEPT: 0.5, _load.H2C: 0.3, _load.NEW: 0.2}  # of the requests
AT_ONCE = (
    100  # requests of each kind that wait for an answer at most: no host has room for any number of them
)
read_params = params.load
PATIENT = {"healthy_within": 120.0, "answer_within": 1.0}  # the machine is full of callers


@dataclass(frozen=True)
class Bench:
    """A host, its store, and `make`, which puts a tiny release with chosen faults there (see `tiny`)."""

    host: Host
    store: Store
    make: Callable[..., str]

    def move(self, release: str) -> int:
        """As `ml deploy` does once it has asked the ledger."""
        return deploy.move(self.host, tiny.CONTRACT, release, self.store)

    def require(self, release: str) -> None:
        """Have a release live before something is measured."""
        if code := self.move(release):
            raise SystemExit(f"the release {release[:12]}, which is good, was not deployed ({code})")

    def settle(self, release: str) -> None:
        """Have a release live after something went wrong, which was told already."""
        with contextlib.suppress(Refused, UserError):
            self.move(release)

    def live(self) -> Route:
        """Where traffic is."""
        route = self.host.edge.route()
        assert route
        return route

    def troubles(self, release: str) -> list[str]:
        """What is not as a deploy of `release` has to leave it: one slot, all traffic there, nothing
        half-way."""
        found, route = [], self.host.edge.route()
        if route is None or route != Route(route.slot, release):
            return [f"the route is {route}"]
        for slot in COLOURS:
            runs, processes = process.running(self.host.slot(slot)), marked(self.host, slot)
            if slot == route.slot and (runs != release or not processes):
                found.append(f"{slot} has the traffic and runs {runs}")
            if slot != route.slot and (runs or processes):
                found.append(f"{slot} has no traffic and runs {runs}, processes {processes}")
        found += [
            f"the journal's move {m.id} is half-way" for m in Journal(self.host.place).moves() if not m.result
        ]
        return found


@contextlib.contextmanager
def small_host() -> Iterator[Bench]:
    """A host of its own on free ports, taken down at the end; its tools are the machine's own."""
    home = Path(tempfile.mkdtemp(prefix="greenlight-bench-"))
    lend(home, ENVIRONMENT)
    (home / "bento").mkdir()
    store = Store(home / "store")
    try:
        host = terraform.up(ENVIRONMENT, tiny.CONTRACT.name, home)
        yield Bench(host, store, tiny.maker(tiny.build(home / "bento"), store))
    finally:
        terraform.down(ENVIRONMENT, tiny.CONTRACT.name, home)
        shutil.rmtree(home, ignore_errors=True)


def use(**values: Any) -> None:
    """Have rollouts go by other limits than params.yaml's."""
    given = read_params()
    limits = given.rollout.model_copy(update={**PATIENT, **values})
    changed = given.model_copy(update={"rollout": limits})
    params.load = lambda *_: changed


class Callers:
    """Requests at a bounded rate while the `with` block runs: by vegeta in open loops (kept connections, one
    HTTP/2 connection, a new connection each), and a few slow ones (see `_load`). Who waits longer than the
    others is charged from when the request was due."""

    def __init__(self, url: str, rate: float, slow: int = 4) -> None:
        self.rate, self.begun, self._url = rate, time.monotonic(), f"{url}/predict"
        self._by = {
            connect: _load.Attack(self._url, tiny.BODIES, rate=share * rate, callers=AT_ONCE, connect=connect)
            for connect, share in SHARES.items()
        }
        self._slow = _load.Slow(self._url, tiny.BODIES, callers=slow)
        self.outcomes: dict[str, _load.Outcome] = {}

    @property
    def sent(self) -> int:
        """About how many requests were sent so far, the slow callers' aside."""
        return int(self.rate * (time.monotonic() - self.begun))

    def __enter__(self) -> "Callers":
        self._stack = contextlib.ExitStack()
        for attack in self._by.values():
            self._stack.enter_context(attack)
        self._stack.enter_context(self._slow)
        self.begun = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stack.close()
        if kind:
            return
        self.outcomes = {connect: attack.outcome() for connect, attack in self._by.items()}
        self.outcomes["slow"] = self._slow.outcome()

    @property
    def outcome(self) -> _load.Outcome:
        """What became of all requests; asked after the `with` block."""
        return functools.reduce(operator.add, self.outcomes.values())


@dataclass
class Turn:
    """A change of the edge's route: when it was commanded and when confirmed, in seconds since the epoch."""

    begun: float
    confirmed: float
    route: Route | None


@contextlib.contextmanager
def turns() -> Iterator[list[Turn]]:
    """The changes of route that this process commands within the block."""
    seen: list[Turn] = []
    original = Edge.route_to

    def noted(edge: Edge, route: Route | None, within: float = 10.0) -> float:
        begun = time.time()
        seconds = original(edge, route, within)
        seen.append(Turn(begun, time.time(), route))
        return seconds

    Edge.route_to = noted  # type: ignore[method-assign, assignment]
    try:
        yield seen
    finally:
        Edge.route_to = original  # type: ignore[method-assign]


def marked(host: Host, slot: str) -> list[int]:
    """The process ids of a slot: its server and its worker."""
    return [found.pid for found in launch.leftovers(host.slot(slot).mark)]


def kill(pids: list[int]) -> None:
    """SIGKILL, at once."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
