"""The edge: Envoy in front of the slots of an environment. Its route file alone says who gets traffic."""

import http.client
import json
import re
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock

from pipelines.base import loopback
from pipelines.base.errors import Refused
from pipelines.base.files import read_json, write_json
from pipelines.edge import envoy
from pipelines.edge.envoy import CHECK_HEADER, VERSION_CHECK, Models, Route, Table

__all__ = ["Counters", "Edge", "Route"]
NOTHING = "nothing #0"  # the version of a model's routes before its first


@dataclass(frozen=True)
class Counters:
    """What the edge counted for a slot since its start: requests sent there, those that failed (an answer of
    5xx, or none), and `times`: (upper bound in milliseconds, answers that took no longer), where it rises."""

    requests: int = 0
    errors: int = 0
    times: tuple[tuple[float, int], ...] = ()

    @classmethod
    def parse(cls, value: dict[str, Any] | None) -> "Counters":
        """From the journal; nothing was counted where `value` is None."""
        if value is None:
            return cls()
        return cls(value["requests"], value["errors"], tuple((b, n) for b, n in value["times"]))

    def since(self, before: "Counters") -> "Counters":
        """What came after `before`; an edge that was started anew counts from zero."""
        if before.requests > self.requests:
            return self
        bounds = sorted({bound for bound, _ in (*self.times, *before.times)})
        times = [(bound, self._within(bound) - before._within(bound)) for bound in bounds]
        errors = max(0, self.errors - before.errors)
        return Counters(self.requests - before.requests, errors, _where_it_rises(times))

    def _within(self, bound: float) -> int:
        return max((count for upper, count in self.times if upper <= bound), default=0)


class Edge:
    """One Envoy as one of its models sees it; told what to do by files in `folder`, asked at `admin_url`."""

    def __init__(self, folder: Path, url: str, admin_url: str, models: Models, model: str) -> None:
        self.folder, self.url, self.admin_url = folder, url, admin_url
        self.models, self.model, self.slots = models, model, models[model]
        self.route_file = folder / "routes" / "routes.json"
        self.cluster_file = folder / "clusters" / "clusters.json"
        first = model == next(iter(models))  # it answers at the top too
        self.model_url = url if first else url + envoy.path_of(model).rstrip("/")

    def command(self, tools: Path) -> list[str]:
        """What runs the edge, by the Envoy of `tools`: its own file, as the script on PATH takes 30 ms more.

        One worker: it takes up healths and routes in the order in which the main thread told them, so a route
        never comes before the health of its slot, and one answer tells what all requests get."""
        found = next(tools.glob("lib/python3*/site-packages/envoy/_bin/envoy"), tools / "bin" / "envoy")
        options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
        return [str(found), "-c", str(self.folder / "bootstrap.json"), *options]

    def write_configuration(self, files: int = 1024) -> None:
        """Write what Envoy starts with, and the clusters and routes of the models that it does not know yet.

        `files` is how many its process may have open. An Envoy that runs takes up new models without a
        restart; the routes of the others stay."""
        room = envoy.Room.of(files, len(self.models))
        write_json(self.cluster_file, envoy.clusters(self.models, room))
        with self._alone():
            known = self._table()
            routes = {name: known.routes.get(name) for name in self.models}
            versions = {name: known.versions.get(name, NOTHING) for name in self.models}
            table = Table(routes, versions)
            if not self.route_file.exists() or read_json(self.route_file) != envoy.routes(table):
                write_json(self.route_file, envoy.routes(table))  # new, or an older template's
        port, admin_port = (int(url.rpartition(":")[2]) for url in (self.url, self.admin_url))
        bootstrap = envoy.bootstrap(port, admin_port, self.cluster_file, self.route_file, room)
        write_json(self.folder / "bootstrap.json", bootstrap)

    def route(self) -> Route | None:
        """Where the route file sends this model's traffic; None where it was never deployed."""
        return self._table().routes.get(self.model)

    @property
    def traffic(self) -> str:
        """Where this model's traffic goes, in words."""
        route = self.route()
        return f"{route.release[:12]} on {route.slot} has the traffic" if route else "nothing has traffic"

    def route_to(self, route: Route | None, within: float = 10.0) -> float:
        """Send traffic there (nowhere: None); returns, with the seconds it took, once none goes elsewhere.

        Refused, with the file as it was before, when Envoy does not take it within `within` seconds. Where
        traffic goes there already, the file is written all the same: whoever wrote it may have been killed
        before Envoy took it."""
        begun, answer = time.monotonic(), ""
        what = f"{route.slot} serves {route.release[:12]}" if route else "nothing"
        with self._alone():
            before = self._table()
            version = f"{what} #{time.time_ns()}"
            write_json(self.route_file, envoy.routes(_changed(before, self.model, route, version)))
        while time.monotonic() < begun + within:
            if (answer := self._version()) == version:
                return time.monotonic() - begun
            time.sleep(0.005)
        with self._alone():
            was, old = before.routes.get(self.model), before.versions.get(self.model, NOTHING)
            write_json(self.route_file, envoy.routes(_changed(self._table(), self.model, was, old)))
        said = f"it is at {answer}" if answer else "it does not answer"
        log = self.folder / "envoy.log"  # Envoy tells nowhere else why it has rejected a route file
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        why = [f" ({line.partition('rejected: ')[2]})" for line in lines if "rejected: " in line] or [""]
        late = f"the edge did not take the route to {version} within {within:.0f} s"
        raise Refused(f"{late}: {said}{why[-1]}")

    def preview(self, slot: str) -> str:
        """Let `slot` answer below /preview/, beside the route as it is; returns its address."""
        if route := self.route():
            self.route_to(replace(route, preview=slot))
        return f"{self.model_url}/preview"

    def ready(self) -> bool:
        """Whether Envoy answers and takes requests."""
        return _answer(f"{self.admin_url}/ready").strip() == "LIVE"

    def healthy(self, slot: str) -> bool:
        """Whether Envoy's own checks call the slot healthy, in every cluster that it is part of."""
        states = [host["health_status"] for host in self._hosts(slot)]
        well = (s.get("eds_health_status") == "HEALTHY" and True not in s.values() for s in states)
        return bool(states) and all(well)

    def counters(self, slot: str, behind: str | None = "") -> Counters:
        """What the edge has counted for a slot; with `behind`, only where that slot, or None, is behind it.

        Callers and copies are told apart by that: copies go to the slot alone. The times are up to half a
        second older than the rest."""
        only = None if behind == "" else envoy.cluster_name(self.model, slot, behind)
        sums = self._sums(slot, only)
        return Counters(sums["rq_total"], sums["rq_error"], self._times(slot, only))

    def drain(self, slot: str, within: float) -> int:
        """Wait until no request is in flight at a slot and none arrives; returns how many still are."""
        until, calm, last = time.monotonic() + within, 0, -1
        while calm < 3:  # a request that waits for a connection, or for its repetition, is not in flight
            now = self._sums(slot)
            calm = calm + 1 if now["rq_active"] == 0 and now["rq_total"] == last else 0
            last = now["rq_total"]
            if time.monotonic() > until:
                return now["rq_active"]
            time.sleep(0.1)
        return 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The route file holds all models' routes, and each model has a deployer of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "routes.lock"):
            yield

    def _table(self) -> Table:
        return Table.read(read_json(self.route_file)) if self.route_file.exists() else Table({}, {})

    def _version(self) -> str:
        """The version of the routes by which the edge's worker answers now; "" where it does not answer.

        Not the admin page's: Envoy's main thread shows a version before the worker has it. There is one
        worker (see `command`), so that its answer holds for all requests that come after it."""
        return _answer(urllib.request.Request(f"{self.model_url}/", headers={CHECK_HEADER: VERSION_CHECK}))

    def _sums(self, slot: str, cluster: str | None = None) -> dict[str, int]:
        sums = {"rq_total": 0, "rq_error": 0, "rq_active": 0}
        for host in self._hosts(slot, cluster):
            for entry in host["stats"]:
                if entry["name"] in sums:
                    sums[entry["name"]] += int(entry.get("value", 0))
        return sums

    def _hosts(self, slot: str, only: str | None = None) -> list[dict[str, Any]]:
        clusters = self._ask("/clusters?format=json").get("cluster_statuses", [])
        found = (host for c in clusters if only in (None, c["name"]) for host in c.get("host_statuses", []))
        return [host for host in found if host["address"]["socket_address"]["port_value"] == self.slots[slot]]

    def _times(self, slot: str, only: str | None = None) -> tuple[tuple[float, int], ...]:
        """The histograms of the clusters in which the slot comes first, added up."""
        first = re.escape(envoy.cluster_name(self.model, slot)) + "(-then-[a-z]+)?"
        wanted = f"^cluster\\.{re.escape(only) if only else first}\\.{envoy.LATENCIES}$"
        query = f"/stats?filter={quote(wanted)}&histogram_buckets=cumulative&format=json"
        sums: dict[float, int] = {}
        for entry in self._ask(query).get("stats", []):
            for histogram in entry.get("histograms", []):
                for bucket in histogram["buckets"]:
                    bound = float(bucket["upper_bound"])
                    sums[bound] = sums.get(bound, 0) + int(bucket["cumulative"])
        return _where_it_rises(sorted(sums.items()))

    def _ask(self, path: str, within: float = 3.0) -> dict[str, Any]:
        """The admin page's answer; an edge that was killed is back in less than `within` seconds."""
        until = time.monotonic() + within
        while True:
            try:
                with loopback.ask(f"{self.admin_url}{path}", timeout=5) as answer:
                    return dict(json.loads(answer.read()))
            except (OSError, http.client.HTTPException, ValueError) as error:
                if time.monotonic() > until:
                    page = f"the edge's admin page {self.admin_url}"
                    raise Refused(f"{page} does not answer ({error})") from None
                time.sleep(0.05)


def _answer(request: urllib.request.Request | str) -> str:
    """What is answered; "" where nothing is."""
    try:
        with loopback.ask(request, timeout=5) as answer:
            return answer.read().decode()
    except (OSError, http.client.HTTPException, ValueError):
        return ""


def _where_it_rises(times: Iterable[tuple[float, int]]) -> tuple[tuple[float, int], ...]:
    found: list[tuple[float, int]] = []
    for bound, count in times:
        if count > (found[-1][1] if found else 0):
            found.append((bound, count))
    return tuple(found)


def _changed(table: Table, model: str, route: Route | None, version: str) -> Table:
    return Table({**table.routes, model: route}, {**table.versions, model: version})
