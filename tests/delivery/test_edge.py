"""The edge before slots of every kind: what it counts, and whom it sends requests."""

import http.client
import http.server
import itertools
import json
import resource
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from pipelines.base.files import read_json, write_json
from pipelines.edge import envoy
from pipelines.edge.edge import Edge, Route
from pipelines.host.host import Host
from pipelines.rollout import checks
from pipelines.rollout.load import Load
from pipelines.rollout.rehearse import free_ports
from tests.delivery.waiting import edge_process, until

pytestmark = pytest.mark.slow


def test_the_edge_has_one_worker_so_that_one_answer_tells_what_all_requests_get(host: Host) -> None:
    tasks = Path(f"/proc/{edge_process(host)}/task").glob("*/comm")
    assert sum(task.read_text().startswith("wrk:") for task in tasks) == 1


class Slot:
    """A slot that becomes ready, or not, at once; what it gets while it is not ready is lost."""

    def __init__(self, port: int, release: str) -> None:
        self.ready, self.release, self.delay, slot = False, release, 0.0, self
        self.asked: list[tuple[str, str]] = []  # paths, and the header by which Envoy is told what to do

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                slot.asked.append((self.path, self.headers.get("x-envoy-upstream-alt-stat-name", "")))
                time.sleep(slot.delay if self.path.startswith("/predict") else 0)
                body = json.dumps({"release": slot.release, "predictions": []}).encode()
                self.send_response(200 if slot.ready else 503)
                self.send_header("x-greenlight-release", slot.release)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


Alone = tuple[Edge, dict[str, Slot], subprocess.Popen[bytes]]


@pytest.fixture
def alone(host: Host, tmp_path: Path) -> Iterator[Alone]:
    """An edge of its own before two such slots."""
    with _before_slots(host, tmp_path) as made:
        yield made


@pytest.fixture
def serving(alone: Alone) -> Alone:
    """The same, where blue has the traffic, green gets copies and answers the preview."""
    edge, slots, _ = alone
    slots["blue"].ready = slots["green"].ready = True
    until(lambda: edge.healthy("blue") and edge.healthy("green"))
    edge.route_to(Route("blue", slots["blue"].release, mirror="green", preview="green"))
    return alone


@contextmanager
def _before_slots(host: Host, tmp_path: Path, files: int = 1024) -> Iterator[Alone]:
    """`files` is how many Envoy may have open, to the last one."""
    port = free_ports()
    ports = {"blue": port + 2, "green": port + 3}
    edge = Edge(tmp_path, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}", {"it": ports}, "it")
    edge.write_configuration(files)
    slots = {colour: Slot(ports[colour], colour * 8) for colour in ports}
    command = ["prlimit", f"--nofile={files}:{files}", *edge.command(host.tools)]
    with (tmp_path / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(edge.ready)
        yield edge, slots, process
    finally:
        process.kill()
        process.wait()
        for slot in slots.values():
            slot.server.shutdown()
            slot.server.server_close()


def test_the_edge_counts_what_failed_and_how_long_it_took(
    alone: Alone,
) -> None:
    edge, slots, _ = alone
    slots["blue"].ready = slots["green"].ready = True
    until(lambda: edge.healthy("blue") and edge.healthy("green"))
    edge.route_to(Route("blue", slots["blue"].release, mirror="green"))
    for delay in (0.0, 0.0, 0.4):
        slots["blue"].delay = delay
        urllib.request.urlopen(f"{edge.url}/predict", timeout=10).read()
    until(lambda: edge.counters("blue").times[-1:] != () and edge.counters("blue").times[-1][1] == 3)
    before = edge.counters("blue")
    assert (before.requests, before.errors) == (3, 0)
    assert [count for bound, count in before.times if bound < 400][-1] == 2 and before.times[-1][0] >= 400
    assert edge.counters("green").requests == 3  # copies
    slots["blue"].ready = False  # it answers 503
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{edge.url}/predict", timeout=10).read()
    since = edge.counters("blue").since(before)
    assert since.requests == since.errors > 0
    assert before.since(edge.counters("blue")) == before  # an edge that was started anew counts from zero


def test_a_slot_that_just_became_healthy_has_the_traffic_at_once_though_envoy_stalls(
    alone: Alone,
) -> None:
    edge, slots, process = alone
    over = threading.Event()

    def stalls() -> None:
        while not over.wait(0.4):
            process.send_signal(signal.SIGSTOP)
            over.wait(0.3)
            process.send_signal(signal.SIGCONT)

    slots["blue"].ready = True
    until(lambda: edge.healthy("blue"))
    edge.route_to(Route("blue", slots["blue"].release))
    stalling = threading.Thread(target=stalls)
    stalling.start()
    try:
        with Load(edge.url, itertools.repeat([])) as load:
            for new, old in [("green", "blue"), ("blue", "green")] * 2:
                for ready in (True, False, True):  # its health changes more than once in a second
                    slots[new].ready = ready
                    until(lambda new=new, ready=ready: edge.healthy(new) == ready)  # type: ignore[misc]
                edge.route_to(Route(new, slots[new].release, old))
                assert checks.answers(edge.url) == slots[new].release
                edge.route_to(Route(new, slots[new].release))
                assert edge.drain(old, within=10) == 0
                slots[old].ready = False
    finally:
        over.set()
        stalling.join()
    assert not load.lost, load.lost
    assert len(load.answered) == 2


def _ask(edge: Edge, path: str, **headers: str) -> int:
    """The status of a path that is sent as it is written."""
    line = http.client.HTTPConnection(edge.url.removeprefix("http://"), timeout=10)
    line.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    status = line.getresponse().status
    line.close()
    return status


def _asked(slots: dict[str, Slot]) -> set[str]:
    return {path for slot in slots.values() for path, _ in slot.asked}


def test_what_callers_need_reaches_a_slot(serving: Alone) -> None:
    edge, slots, _ = serving
    for below in ("", "v1/models/it/", "preview/", "v1/models/it/preview/"):
        for name in envoy.OPEN:
            assert _ask(edge, f"/{below}{name}") == 200, below + name
    assert _asked(slots) == {f"/{name}" for name in envoy.OPEN}
    assert _ask(edge, "/") == _ask(edge, "//predict") == _ask(edge, "/predict?a=b") == 200


OTHERS = (
    *("/metrics", "/healthz", "/schema.json", "/static_content/index.html", "/predict/", "/predict/metrics"),
    *(
        "/stats",
        "/config_dump",
        "/quitquitquit",
        "/nowhere",
        "/v1/models/it/metrics",
        "/v1/models/other/predict",
    ),
    *("/preview/metrics", "/predict/../metrics", "/%2e%2e/metrics", "/predict/%2e%2e/metrics", "//metrics"),
    *("/predict%2f..%2fmetrics", "/predict%5c..%5cmetrics", "/./metrics", "/METRICS", "/metrics?x=/predict"),
    *("/metrics%3f/predict", "/predict;/../metrics", "/%6d%65trics", "/preview/../metrics"),
)


def test_anything_else_is_the_edges_own_refusal_and_reaches_no_slot(serving: Alone) -> None:
    edge, slots, _ = serving
    assert {path: _ask(edge, path) for path in OTHERS if _ask(edge, path) not in (400, 404)} == {}
    assert _asked(slots) <= {"/readyz"}  # which is the edge's own check


def test_paths_and_headers_that_callers_make_up_add_nothing_to_what_the_edge_counts(serving: Alone) -> None:
    edge, slots, _ = serving

    def counted() -> int:
        with urllib.request.urlopen(f"{edge.admin_url}/stats", timeout=10) as answer:
            return len(answer.read().splitlines())

    def timed() -> bool:
        _ask(edge, "/predict"), _ask(edge, "/nowhere")  # on a busy machine the first one finds no slot yet
        return bool(edge.counters("blue").times)

    until(timed)
    before = counted()
    for number in range(300):
        _ask(edge, f"/nowhere/{number}")
        _ask(edge, "/predict", x_envoy_upstream_alt_stat_name=f"made-up-{number}")
    assert counted() <= before + 10
    assert not any(name for _, name in slots["blue"].asked)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for the callers of this process: an ordinary user's soft limit is 1,024 open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"this machine lets a process open no more than {hard} files (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("said", [b"", b"GET /predict HTTP/1.1\r\nhost: it\r\n"])
def test_callers_who_hold_connections_and_say_nothing_do_not_end_the_edge(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(
        envoy, "IDLE_SECONDS", 10
    )  # seconds: longer than a busy machine takes to open them all
    monkeypatch.setattr(envoy, "HEADERS_SECONDS", 10)
    with _before_slots(host, tmp_path, files=1024) as (edge, slots, process), ExitStack() as open_lines:
        slots["blue"].ready = True
        until(lambda: edge.healthy("blue"))
        edge.route_to(Route("blue", slots["blue"].release))
        address = ("127.0.0.1", int(edge.url.rpartition(":")[2]))
        held = [open_lines.enter_context(socket.create_connection(address, timeout=10)) for _ in range(1_100)]
        for line in held:
            with suppress(OSError):
                line.sendall(said)
        time.sleep(0.5)
        # An earlier question of ours may have counted among the first, until the edge saw its end.
        held += [open_lines.enter_context(socket.create_connection(address, timeout=10)) for _ in range(10)]
        time.sleep(0.5)
        assert sum(not _closed(line) for line in held) == envoy.Room.of(1024, 1).callers
        with pytest.raises((OSError, http.client.HTTPException)):
            _ask(edge, "/predict")  # a clean refusal
        assert edge.ready() and process.poll() is None
        until(lambda: all(_closed(line) for line in held), within=40)
        until(lambda: _answers(edge, "/predict"))
        assert process.poll() is None


def test_an_edge_without_a_limit_is_what_so_many_callers_end(host: Host, tmp_path: Path) -> None:
    """The control: the limits are what the test above sees."""
    with _before_slots(host, tmp_path, files=256) as (edge, _, process):
        bootstrap = tmp_path / "bootstrap.json"
        process.kill()
        process.wait()
        unlimited = read_json(bootstrap)
        del unlimited["overload_manager"]
        write_json(bootstrap, unlimited)
        command = ["prlimit", "--nofile=256:256", *edge.command(host.tools)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as again:
            until(edge.ready)
            address = ("127.0.0.1", int(edge.url.rpartition(":")[2]))
            held = [socket.create_connection(address, timeout=10) for _ in range(300)]
            time.sleep(0.5)
            assert again.poll() is not None or not edge.ready()
            again.kill()
            for line in held:
                line.close()


def _answers(edge: Edge, path: str) -> bool:
    try:
        return _ask(edge, path) == 200
    except (OSError, http.client.HTTPException):
        return False


def _closed(line: socket.socket) -> bool:
    """Whether the other side has closed the connection, at once or after an answer."""
    line.setblocking(False)
    try:
        while said := line.recv(4096):
            if b" 408 " in said:
                return True
        return not said
    except BlockingIOError:
        return False
    except OSError:
        return True
