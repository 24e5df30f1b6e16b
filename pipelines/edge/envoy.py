"""Envoy's configuration: the bootstrap, the clusters of all slots, the routes. `Edge` writes and runs it.

Callers reach a slot by the paths of `OPEN` and by no other: what else a slot has, such as its metrics, is
asked at its own port, on this machine.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

ROUTES = "edge"  # the name of the one route table
CHECK_HEADER = "x-greenlight-check"  # marks the deployer's own requests to a slot; callers cannot send it
VERSION_CHECK = "version"  # its value in the one request that the edge answers itself
SHADOW_HEADER = "x-greenlight-shadow"  # marks copies and previews, which are not predictions of production
OURS = (CHECK_HEADER, SHADOW_HEADER)
OPEN = ("predict", "release", "docs.json", "livez", "readyz")
LATENCIES = "upstream_rq_time"  # Envoy's histogram of a cluster's answers, in milliseconds
IDLE_SECONDS = 60  # that a connection, or a request under way, may say nothing
SLOW_SECONDS = 30  # that a caller may take to send a request
HEADERS_SECONDS = 10  # of which for its headers
STREAMS = 100  # requests at once on a connection of HTTP/2
RESERVED = 100  # open files that the edge needs beside its connections
BOUNDS = [*range(1, 11), *range(12, 31, 2), *(round(30 * 1.1**n) for n in range(1, 75))]  # to half a minute

Models = Mapping[str, Mapping[str, int]]  # model -> colour -> port


@dataclass(frozen=True)
class Route:
    """Where a model's traffic goes: `slot`, which serves `release`; `fallback` takes what fails there.

    `share` percent of the requests go to the fallback first. `mirror` gets a copy of each request, whose
    answer nobody sees; `preview` answers below /preview/."""

    slot: str
    release: str
    fallback: str | None = None
    share: float = 0.0
    mirror: str | None = None
    preview: str | None = None


@dataclass(frozen=True)
class Room:
    """How many connections fit the files that the edge's process may open: an edge without one ends."""

    callers: int
    slots: int  # of a cluster

    @classmethod
    def of(cls, files: int, models: int) -> "Room":
        """A quarter is for callers, one each for the up to three clusters of a model that are in use."""
        part = max(16, files - RESERVED) // 4
        return cls(part, max(4, min(1_000, part // models)))


@dataclass(frozen=True)
class Table:
    """The routes of all models, by name, each with its version: "blue serves 0123 #7"."""

    routes: Mapping[str, Route | None]
    versions: Mapping[str, str]

    @classmethod
    def read(cls, file: Mapping[str, Any]) -> "Table":
        """From a route file that `routes` made."""
        ours = file["resources"][0]["metadata"]["filter_metadata"]["greenlight"]
        routes = {name: Route(**route) if route else None for name, route in ours["routes"].items()}
        return cls(routes, ours["versions"])


def path_of(model: str) -> str:
    """Where a model is asked, below the edge's address."""
    return f"/v1/models/{model}/"


def bootstrap(port: int, admin_port: int, clusters: Path, routes: Path, room: Room) -> dict[str, Any]:
    """What Envoy starts with: one listener; clusters and routes come from files that it watches."""
    manager = _extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        server_name="greenlight",
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        # Who says nothing, or dribbles, gives its connection back.
        common_http_protocol_options={"idle_timeout": f"{IDLE_SECONDS}s"},
        stream_idle_timeout=f"{IDLE_SECONDS}s",
        request_headers_timeout=f"{HEADERS_SECONDS}s",
        request_timeout=f"{SLOW_SECONDS}s",
        http2_protocol_options={"max_concurrent_streams": STREAMS},
        # One spelling of a path, so that no other one reaches what the routes do not name.
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        # By a header x-envoy-... a caller would set timeouts and retries, or name new statistics.
        early_header_mutation_extensions=[
            _extension(
                "envoy.http.early_header_mutation.header_mutation",
                "http.early_header_mutation.header_mutation.v3.HeaderMutation",
                mutations=[{"remove_on_match": {"key_matcher": {"prefix": "x-envoy-", "ignore_case": True}}}],
            )
        ],
        rds={"route_config_name": ROUTES, "config_source": _watched(routes)},
        http_filters=[_extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )
    listener = {
        "name": "edge",
        "address": _address(port),
        "enable_reuse_port": False,  # else a second Envoy on the same port would take half of the traffic
        "filter_chains": [{"filters": [manager]}],
    }
    most_callers = _extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=room.callers,
    )
    return {
        "node": {"id": "edge", "cluster": "greenlight"},
        "admin": {"address": _address(admin_port), "ignore_global_conn_limit": True},
        "overload_manager": {"resource_monitors": [most_callers]},
        "stats_flush_interval": "0.5s",  # merges the histograms; the default of 5 s is late for a bake
        "stats_config": {"histogram_bucket_settings": [{"match": {"suffix": LATENCIES}, "buckets": BOUNDS}]},
        "dynamic_resources": {"cds_config": _watched(clusters)},
        "static_resources": {"listeners": [listener]},
    }


def clusters(models: Models, room: Room) -> dict[str, Any]:
    """For each model and colour a cluster of the slot alone, and one with the other colour behind it."""
    return {
        "resources": [
            _cluster(model, order, slots, room)
            for model, slots in models.items()
            for order in (*((slot,) for slot in slots), *permutations(slots))
        ]
    }


def cluster_name(model: str, slot: str, fallback: str | None = None) -> str:
    """The name of the cluster in which `slot` of `model` comes first."""
    return f"{model}-{slot}-then-{fallback}" if fallback else f"{model}-{slot}"


def routes(table: Table) -> dict[str, Any]:
    """The route file. The first model also answers at the top; a model without a release answers 503."""
    prefixes = [*((name, path_of(name)) for name in table.routes), (next(iter(table.routes)), "/")]
    listed = [one for name, prefix in prefixes for one in _model_routes(name, prefix, table)]
    known = {name: asdict(route) if route else None for name, route in table.routes.items()}
    ours = {"routes": known, "versions": dict(table.versions)}
    configuration = {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "validate_clusters": True,  # else a route to nowhere is taken, and answers 503
        "metadata": {"filter_metadata": {"greenlight": ours}},
        "virtual_hosts": [{"name": "edge", "domains": ["*"], "routes": listed}],
    }
    return {"version_info": " ".join(table.versions.values()), "resources": [configuration]}


def _model_routes(model: str, prefix: str, table: Table) -> list[dict[str, Any]]:
    """The route at which the edge tells its version, the preview's where there is one, and the callers'."""
    route = table.routes[model]
    check = {"name": CHECK_HEADER, "string_match": {"exact": VERSION_CHECK}}
    told = {"status": 200, "body": {"inline_string": table.versions[model]}}
    found: list[dict[str, Any]] = [{"match": {"path": prefix, "headers": [check]}, "direct_response": told}]
    if route is None:
        nothing = {"status": 503, "body": {"inline_string": "nothing is deployed here yet\n"}}
        paths = ({"path": prefix + name} for name in ("", *OPEN))
        return [*found, *({"match": path, "direct_response": nothing} for path in paths)]
    if route.preview:
        preview = {
            "request_headers_to_remove": list(OURS),
            "request_headers_to_add": [_shadow_header()],
            "route": {"cluster": cluster_name(model, route.preview), "timeout": "30s"},
        }
        found += [_to_slot(preview, prefix + "preview/", name) for name in OPEN]
    # BentoML's page at the top has a browser load another company's script.
    about = {"inline_string": f"{model}: POST predict; docs.json tells what it takes and gives\n"}
    found.append({"match": {"path": prefix}, "direct_response": {"status": 200, "body": about}})
    callers = {"request_headers_to_remove": list(OURS), "route": _where(model, route)}
    return [*found, *(_to_slot(callers, prefix, name) for name in OPEN)]


def _to_slot(how: dict[str, Any], prefix: str, name: str) -> dict[str, Any]:
    return how | {"match": {"path": prefix + name}, "route": how["route"] | {"prefix_rewrite": f"/{name}"}}


def _where(model: str, route: Route) -> dict[str, Any]:
    first = cluster_name(model, route.slot, route.fallback)
    action: dict[str, Any] = {
        "cluster": first,
        "timeout": "30s",
        "retry_policy": {
            "retry_on": "connect-failure,reset,refused-stream,retriable-status-codes",
            # While a fallback stands by, it also answers what the slot fails at.
            "retriable_status_codes": [500, 502, 503, 504] if route.fallback else [503],
            "num_retries": 4,
            "retry_priority": _extension(
                "envoy.retry_priorities.previous_priorities",
                "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                update_frequency=1,
            ),
        },
    }
    if route.share and route.fallback:
        second, parts = cluster_name(model, route.fallback, route.slot), round(route.share * 100)
        weights = [{"name": first, "weight": 10_000 - parts}, {"name": second, "weight": parts}]
        del action["cluster"]
        action["weighted_clusters"] = {"clusters": weights}
    if route.mirror:
        copies = {"cluster": cluster_name(model, route.mirror), "disable_shadow_host_suffix_append": True}
        mutations = {"request_headers_mutations": [{"append": _shadow_header()}]}
        action["request_mirror_policies"] = [copies | mutations]
    return action


def _cluster(model: str, order: tuple[str, ...], ports: Mapping[str, int], room: Room) -> dict[str, Any]:
    """A slot, and the other colour behind it as the next priority where there is a fallback."""
    name = cluster_name(model, *order)
    # Many may wait, but not each on a connection of its own: those would use up the machine's ports.
    limits = {key: 100_000 for key in ("max_pending_requests", "max_requests", "max_retries")}
    limits["max_connections"] = room.slots
    check = {
        "timeout": "2s",
        "interval": "0.5s",
        "no_traffic_interval": "0.5s",  # the default of 60 s would leave an idle slot unknown
        "no_traffic_healthy_interval": "0.5s",
        "unhealthy_interval": "0.25s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "common_lb_config": {
            # Where all that a route has is called down, it is asked all the same: what only stalls, since the
            # machine does, answers late instead of never, and what is down is refused either way.
            "healthy_panic_threshold": {"value": 1},
            # Else a health that changes twice in a second reaches the worker a second after the admin page.
            "update_merge_window": "0s",
        },
        "circuit_breakers": {"thresholds": [limits, {**limits, "priority": "HIGH"}]},
        "health_checks": [check],
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                # Shorter than uvicorn's 5 s, so that it is never the server that closes an idle connection.
                "common_http_protocol_options": {"idle_timeout": "3s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"priority": priority, "lb_endpoints": [{"endpoint": {"address": _address(ports[colour])}}]}
                for priority, colour in enumerate(order)
            ],
        },
    }


def _watched(path: Path) -> dict[str, Any]:
    source = {"path": str(path), "watched_directory": {"path": str(path.parent)}}
    return {"resource_api_version": "V3", "path_config_source": source}


def _shadow_header() -> dict[str, Any]:
    return {"header": {"key": SHADOW_HEADER, "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _extension(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    typed = {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **settings}
    return {"name": name, "typed_config": typed}
