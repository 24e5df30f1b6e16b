"""The edge before slots of every kind: what it counts, and whom it sends requests."""

import http.server
import json
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.delivery import checks
from pipelines.delivery import host as hosts
from pipelines.delivery.edge import Edge, Route
from pipelines.delivery.host import Host
from pipelines.delivery.load import Load
from pipelines.delivery.rehearse import free_ports
from tests.delivery.waiting import until

pytestmark = pytest.mark.slow


def test_the_edge_has_one_worker_so_that_one_answer_tells_what_all_requests_get(host: Host) -> None:
    tasks = Path(f"/proc/{hosts.edge_process(host)}/task").glob("*/comm")
    assert sum(task.read_text().startswith("wrk:") for task in tasks) == 1


class Slot:
    """A slot that becomes ready, or not, at once; what it gets while it is not ready is lost."""

    def __init__(self, port: int, release: str) -> None:
        self.ready, self.release, self.delay, slot = False, release, 0.0, self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                time.sleep(slot.delay if self.path.startswith("/predict") else 0)
                body = json.dumps({"release": slot.release}).encode()
                self.send_response(200 if slot.ready else 503)
                self.send_header("x-greenlight-release", slot.release)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def alone(host: Host, tmp_path: Path) -> Iterator[tuple[Edge, dict[str, Slot], subprocess.Popen[bytes]]]:
    """An edge of its own before two such slots."""
    port = free_ports()
    ports = {"blue": port + 2, "green": port + 3}
    edge = Edge(tmp_path, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}", {"it": ports}, "it")
    edge.write_configuration()
    slots = {colour: Slot(ports[colour], colour * 8) for colour in ports}
    with (tmp_path / "envoy.log").open("wb") as log:
        envoy = subprocess.Popen(edge.command(host.tools), stdout=log, stderr=log)
    until(edge.ready)
    yield edge, slots, envoy
    envoy.kill()
    envoy.wait()
    for slot in slots.values():
        slot.server.shutdown()
        slot.server.server_close()


def test_the_edge_counts_what_failed_and_how_long_it_took(
    alone: tuple[Edge, dict[str, Slot], subprocess.Popen[bytes]],
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
    alone: tuple[Edge, dict[str, Slot], subprocess.Popen[bytes]],
) -> None:
    edge, slots, envoy = alone
    over = threading.Event()

    def stalls() -> None:
        while not over.wait(0.4):
            envoy.send_signal(signal.SIGSTOP)
            over.wait(0.3)
            envoy.send_signal(signal.SIGCONT)

    slots["blue"].ready = True
    until(lambda: edge.healthy("blue"))
    edge.route_to(Route("blue", slots["blue"].release))
    stalling = threading.Thread(target=stalls)
    stalling.start()
    try:
        with Load(edge.url, [b"{}"]) as load:
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
