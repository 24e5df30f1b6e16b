"""The edge: Envoy in front of the two slots. Its route file alone says who gets traffic."""

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import Refused
from pipelines.files import read_json, write_json

ROUTES = "edge"  # the name of the one route table
CHECK_HEADER = "x-greenlight-check"  # marks the deployer's own requests to a slot; callers cannot send it
VERSION_CHECK = "version"  # its value in the one request that the edge answers itself


@dataclass(frozen=True)
class Route:
    """Where traffic goes: `slot`, which serves `release`; `fallback` takes what fails there."""

    slot: str
    release: str
    fallback: str | None = None


@dataclass(frozen=True)
class Stats:
    """What the edge counted for a slot since the edge's start; `active` are requests in flight."""

    total: int
    errors: int
    active: int


class Edge:
    """One Envoy, told what to do by files in `folder` and asked what it did at `admin_url`."""

    def __init__(self, folder: Path, url: str, admin_url: str, slots: dict[str, int]) -> None:
        self.folder, self.url, self.admin_url, self.slots = folder, url, admin_url, slots
        self.route_file = folder / "routes" / "routes.json"

    def command(self, tools: Path) -> list[str]:
        """What runs the edge, by the Envoy of `tools`.

        One worker: it takes up healths and routes in the order in which the main thread told them, so a route
        never comes before the health of its slot, and one answer tells what all requests get.
        """
        return [
            *(str(tools / "bin" / "envoy"), "-c", str(self.folder / "bootstrap.json")),
            *("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"),
        ]

    def write_bootstrap(self) -> None:
        """Write Envoy's static configuration and, where there is none yet, a route file that answers 503."""
        if not self.route_file.exists():
            self._write_route(None)
        write_json(self.folder / "bootstrap.json", _bootstrap(self))

    def route(self) -> Route | None:
        """Where the route file sends traffic; None where nothing was ever deployed."""
        if not self.route_file.exists():
            return None
        value = read_json(self.route_file)["resources"][0]["metadata"]["filter_metadata"]["greenlight"]
        return Route(**value["route"]) if value["route"] else None

    def route_to(self, route: Route | None, within: float = 10.0) -> None:
        """Send traffic there (nowhere: None), and return once no request that arrives goes elsewhere.

        Refused, with the file as it was before, when Envoy does not take it within `within` seconds. Where
        traffic goes there already, the file is written all the same: whoever wrote it may have been killed
        before Envoy took it.
        """
        before = self.route_file.read_bytes() if self.route_file.exists() else None
        version, until, answer = self._write_route(route), time.monotonic() + within, ""
        while time.monotonic() < until:
            if (answer := self._version()) == version:
                return
            time.sleep(0.02)
        if before is not None:
            write_json(self.route_file, json.loads(before))
        said = f"it is at {answer}" if answer else "it does not answer"
        raise Refused(
            f"the edge did not take the route to {version} within {within:.0f} s: {said}{self._complaint()}"
        )

    def ready(self) -> bool:
        """Whether Envoy answers and takes requests."""
        try:
            with urllib.request.urlopen(f"{self.admin_url}/ready", timeout=5) as answer:
                return bool(answer.read().strip() == b"LIVE")
        except OSError:
            return False

    def healthy(self, slot: str) -> bool:
        """Whether Envoy's own checks call the slot healthy, in every cluster that it is part of."""
        states = [host["health_status"] for host in self._hosts(slot)]
        return bool(states) and all(
            state.get("eds_health_status") == "HEALTHY" and not any(v is True for v in state.values())
            for state in states
        )

    def stats(self, slot: str) -> Stats:
        """Requests that the edge sent to a slot; answers of 5xx and broken connections are errors."""
        sums = {"rq_total": 0, "rq_error": 0, "rq_active": 0}
        for host in self._hosts(slot):
            for entry in host["stats"]:
                if entry["name"] in sums:
                    sums[entry["name"]] += int(entry.get("value", 0))
        return Stats(sums["rq_total"], sums["rq_error"], sums["rq_active"])

    def drain(self, slot: str, within: float) -> int:
        """Wait until no request is in flight at a slot and none arrives; returns how many still are."""
        until, calm, last = time.monotonic() + within, 0, -1
        while calm < 3:  # a request that waits for a connection, or for its repetition, is not in flight
            now = self.stats(slot)
            calm = calm + 1 if now.active == 0 and now.total == last else 0
            last = now.total
            if time.monotonic() > until:
                return now.active
            time.sleep(0.1)
        return 0

    def _write_route(self, route: Route | None) -> str:
        version = f"{f'{route.release[:12]} on {route.slot}' if route else 'nothing'} #{time.time_ns()}"
        write_json(self.route_file, _routes(route, version))
        return version

    def _version(self) -> str:
        """The version of the routes by which the edge's worker answers now; "" where it does not answer.

        Not the admin page's: Envoy's main thread shows a version before the worker has it. There is one
        worker (see `command`), so that its answer holds for all requests that come after it.
        """
        request = urllib.request.Request(self.url, headers={CHECK_HEADER: VERSION_CHECK})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return str(answer.read().decode())
        except (OSError, http.client.HTTPException, ValueError):
            return ""

    def _complaint(self) -> str:
        """Why a route file was rejected, which Envoy tells nowhere but in its log."""
        log = self.folder / "envoy.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        rejected = [line.partition("rejected: ")[2] for line in lines if "rejected: " in line]
        return f" ({rejected[-1]})" if rejected else ""

    def _hosts(self, slot: str) -> list[dict[str, Any]]:
        port = self.slots[slot]
        return [
            host
            for cluster in self._ask("/clusters?format=json").get("cluster_statuses", [])
            for host in cluster.get("host_statuses", [])
            if host["address"]["socket_address"]["port_value"] == port
        ]

    def _ask(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.admin_url}{path}", timeout=5) as answer:
                return dict(json.loads(answer.read()))
        except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
            raise Refused(f"the edge's admin page {self.admin_url} does not answer ({error})") from None


def _bootstrap(edge: Edge) -> dict[str, Any]:
    manager = {
        "@type": _type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "edge",
        "server_name": "greenlight",
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "stream_idle_timeout": "60s",
        "rds": {
            "route_config_name": ROUTES,
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": str(edge.route_file),
                    "watched_directory": {"path": str(edge.route_file.parent)},
                },
            },
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _type("filters.http.router.v3.Router")},
            }
        ],
    }
    listener = {
        "name": "edge",
        "address": _address(_port(edge.url)),
        "enable_reuse_port": False,  # else a second Envoy on the same port would take half of the traffic
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    pairs = [(a, b) for a in edge.slots for b in edge.slots]
    return {
        "node": {"id": "edge", "cluster": "greenlight"},
        "admin": {"address": _address(_port(edge.admin_url)), "ignore_global_conn_limit": True},
        "static_resources": {
            "listeners": [listener],
            "clusters": [
                _cluster(_cluster_name(slot, None if fallback == slot else fallback), edge, slot, fallback)
                for slot, fallback in pairs
            ],
        },
    }


def _cluster(name: str, edge: Edge, slot: str, fallback: str) -> dict[str, Any]:
    """A slot, and the other colour behind it as the next priority where it differs."""
    order = dict.fromkeys((slot, fallback))
    no_limit = {
        key: 100_000 for key in ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 0},  # never send to what is known to be down
            # Else a health that changes twice in a second reaches the worker a second after the admin page.
            "update_merge_window": "0s",
        },
        "circuit_breakers": {"thresholds": [no_limit, {**no_limit, "priority": "HIGH"}]},
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "0.5s",
                "no_traffic_interval": "0.5s",  # the default of 60 s would leave an idle slot unknown
                "no_traffic_healthy_interval": "0.5s",
                "unhealthy_interval": "0.25s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/readyz"},
            }
        ],
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _type("upstreams.http.v3.HttpProtocolOptions"),
                # Shorter than uvicorn's 5 s, so that it is never the server that closes an idle connection.
                "common_http_protocol_options": {"idle_timeout": "3s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {
                    "priority": priority,
                    "lb_endpoints": [{"endpoint": {"address": _address(edge.slots[colour])}}],
                }
                for priority, colour in enumerate(order)
            ],
        },
    }


def _routes(route: Route | None, version: str) -> dict[str, Any]:
    action: dict[str, Any] = {
        "direct_response": {"status": 503, "body": {"inline_string": "nothing is deployed here yet\n"}}
    }
    if route:
        # While a fallback stands by, it also answers what the new release fails at.
        repeated = [500, 502, 503, 504] if route.fallback else [503]
        action = {
            "route": {
                "cluster": _cluster_name(route.slot, route.fallback),
                "timeout": "30s",
                "retry_policy": {
                    "retry_on": "connect-failure,reset,refused-stream,retriable-status-codes",
                    "retriable_status_codes": repeated,
                    "num_retries": 4,
                    "retry_priority": {
                        "name": "envoy.retry_priorities.previous_priorities",
                        "typed_config": {
                            "@type": _type("retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"),
                            "update_frequency": 1,
                        },
                    },
                },
            }
        }
    ours = {"route": asdict(route) if route else None}
    check = {"name": CHECK_HEADER, "string_match": {"exact": VERSION_CHECK}}
    return {
        "version_info": version,
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "name": ROUTES,
                "validate_clusters": True,  # else a route to nowhere is taken, and answers 503
                "request_headers_to_remove": [CHECK_HEADER],
                "metadata": {"filter_metadata": {"greenlight": ours}},
                "virtual_hosts": [
                    {
                        "name": "edge",
                        "domains": ["*"],
                        "routes": [
                            {
                                "match": {"prefix": "/", "headers": [check]},
                                "direct_response": {"status": 200, "body": {"inline_string": version}},
                            },
                            {"match": {"prefix": "/"}, **action},
                        ],
                    }
                ],
            }
        ],
    }


def _cluster_name(slot: str, fallback: str | None) -> str:
    return f"{slot}-then-{fallback}" if fallback else slot


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{name}"
