"""What the steps of a rollout share: the move under way, edge, slot and limits; and what a step is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.base.console import step as say
from pipelines.base.errors import Refused
from pipelines.base.waiting import until
from pipelines.core import params
from pipelines.core.contract import Contract
from pipelines.edge.edge import Counters, Edge, Route
from pipelines.host.host import Host
from pipelines.host.slots import process
from pipelines.registry.store import Store
from pipelines.rollout.journal import Journal, Move

ENDS = 2  # times that a server may end before it is ready: the first time a port may have been taken

Facts = dict[str, Any]


class Held(Exception):
    """There is too little data for a verdict: the rollout waits where it is."""


@dataclass(frozen=True)
class Step:
    """One step. `do` returns what the journal keeps; `skip` the reason why there is nothing to do."""

    name: str
    says: Callable[["Context"], str]
    do: Callable[["Context"], Facts]
    undo: Callable[["Context"], None] = lambda context: None
    skip: Callable[["Context"], str | None] = lambda context: None
    once: bool = False  # a verdict that was reached stays


@dataclass(eq=False)
class Context:
    """One move under way."""

    host: Host
    contract: Contract
    releases: Store
    journal: Journal
    under_way: Move
    limits: params.Rollout

    def __post_init__(self) -> None:
        begun, host = self.under_way, self.host
        self.id, self.release, self.slot, self.why = begun.id, begun.release, begun.slot, begun.why
        self.origin = Route(**begun.origin) if begun.origin else None
        self.failing, self.done = begun.failing, begun.done
        self.edge: Edge = host.edge
        self.url = host.slot(self.slot).url
        self.folder = Path()
        self._ended: set[int] = set()

    def live_folder(self) -> Path | None:
        """The live release's folder, verified; None where the store does not have it any more."""
        has = self.origin and self.releases.has(self.origin.release)
        return self.releases.get(self.origin.release) if self.origin and has else None

    @property
    def move(self) -> Move:
        """The move as the journal has it now."""
        return self.journal.move(self.id)

    def record_of_live(self) -> Counters:
        """What the edge has counted for the live slot since its own rollout ended."""
        if self.origin is None:
            return Counters()
        ended = self.journal.counted(self.origin.release, self.origin.slot)
        return self.edge.counters(self.origin.slot).since(Counters.parse(ended))

    def is_healthy(self) -> bool:
        """By the edge's own checks. Refused where the process ended, and ended again after its restart."""
        if ended := process.ended(self.host.slot(self.slot)):
            self._ended.add(ended)
        if len(self._ended) >= ENDS:
            raise Refused(f"slot {self.slot} ended by itself, {len(self._ended)} times")
        return self.edge.healthy(self.slot)

    def wait(self, true: Callable[[], bool], within: float, otherwise: str) -> None:
        """Refused when it does not come true within so many seconds."""
        if not until(true, within, 0.1):
            raise Refused(f"slot {self.slot} {otherwise} within {within:g} s")

    def stop(self, slot: str) -> int:
        """End a slot once nothing is in flight there; returns how many requests still were."""
        left, within = 0, self.limits.drain_within
        if process.running(self.host.slot(slot)) and (left := self.edge.drain(slot, within)):
            say(f"{slot}: {left} requests still in flight after {within:g} s")
        process.stop(self.host.slot(slot))
        return left
