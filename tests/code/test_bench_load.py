"""The benchmarks' callers count honestly: what a bad server does to a request shows in the figures."""

import http.server
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _load
from pipelines.base.errors import UserError
from pipelines.edge.edge import Edge
from pipelines.rollout.rehearse import free_ports

BODIES = [b'{"rows": [1]}', b'{"rows": [2]}']
sending = pytest.mark.usefixtures("vegeta")


class Bad:
    """A server of which every tenth answer is what `fault` makes of it."""

    def __init__(self, fault: str = "") -> None:
        self.fault, self.asked, self.connections, self.bodies = fault, 0, 0, set[bytes]()
        lock = threading.Lock()
        bad = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                with lock:
                    bad.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with lock:
                    bad.asked += 1
                    bad.bodies.add(body)
                    fault = bad.fault if bad.asked % 10 == 0 else ""
                    if fault == "stall":
                        time.sleep(0.25)  # with the lock: all wait
                if fault == "reset":
                    self.close_connection = True
                    return
                self.send_response(503 if fault == "503" else 200)
                self.send_header("content-length", "4")
                self.send_header(_load.RELEASE, "abc")
                self.end_headers()
                self.wfile.write(b"ok" if fault == "cut" else b"good")
                self.close_connection |= fault == "cut"

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.request_queue_size = 128
        self.url = f"http://127.0.0.1:{self.server.server_port}/predict"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def bad() -> Iterator[Callable[[str], Bad]]:
    made: list[Bad] = []

    def make(fault: str = "") -> Bad:
        made.append(Bad(fault))
        return made[-1]

    yield make
    for each in made:
        each.server.shutdown()
        each.server.server_close()


@sending
@pytest.mark.parametrize("connect", [_load.KEPT, _load.NEW])
def test_every_request_to_a_good_server_is_answered(bad: Callable[[str], Bad], connect: str) -> None:
    server = bad("")
    found = _load.attack(server.url, BODIES, rate=100, seconds=1, connect=connect)
    assert found.sent == server.asked == 100
    assert found.answered == {200: 100} and not found.lost and found.failed == 0
    assert set(found.release) == {"abc"} and server.bodies == set(BODIES)
    assert (server.connections == 100) == (connect == _load.NEW)


@sending
def test_an_answer_of_503_is_counted_as_such(bad: Callable[[str], Bad]) -> None:
    found = _load.attack(bad("503").url, BODIES, rate=100, seconds=1)
    assert found.answered == {200: 90, 503: 10} and not found.lost and found.failed == 10


@sending
@pytest.mark.parametrize("fault", ["reset", "cut"])
def test_a_request_without_a_whole_answer_is_lost_and_not_sent_again(
    bad: Callable[[str], Bad], fault: str
) -> None:
    server = bad(fault)
    found = _load.attack(server.url, BODIES, rate=100, seconds=1)
    assert found.sent == server.asked == 100
    assert found.answered == {200: 90} and found.lost.total() == found.failed == 10


@sending
def test_nobody_there_is_a_lost_request() -> None:
    found = _load.attack("http://127.0.0.1:9/predict", BODIES, rate=50, seconds=0.2)
    assert found.sent == found.lost.total() == 10


@sending
def test_http2_without_tls_is_spoken_and_its_503_counted(tmp_path: Path) -> None:
    """To an edge behind which nothing is deployed."""
    port = free_ports()
    models = {"it": {"blue": port + 2}}
    edge = Edge(tmp_path, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}", models, "it")
    edge.write_configuration()
    with subprocess.Popen(edge.command(Path(sys.prefix)), stderr=subprocess.DEVNULL) as envoy:
        try:
            while not edge.ready():
                assert envoy.poll() is None
                time.sleep(0.1)
            found = _load.attack(edge.url, BODIES, rate=100, seconds=1, connect=_load.H2C)
            with urllib.request.urlopen(f"{edge.admin_url}/stats?filter=downstream_rq_http2_total") as answer:
                spoken = answer.read().decode()
        finally:
            envoy.kill()
    assert found.sent == 100 and found.answered == {503: 100}
    assert spoken.strip().endswith("edge.downstream_rq_http2_total: 100")


@sending
def test_a_stall_is_charged_to_all_who_waited_behind_it(bad: Callable[[str], Bad]) -> None:
    """0.25 s in every tenth request: a closed loop sees a tenth slow, an open one that it cannot keep up."""
    closed = _load.attack(bad("stall").url, BODIES, callers=1, seconds=2)
    opened = _load.attack(bad("stall").url, BODIES, rate=100, seconds=1)
    assert closed.failed == opened.failed == 0
    assert closed.quantile(0.99) > 0.2 > closed.quantile(0.5)
    assert opened.quantile(0.5) > 0.5


@sending
def test_callers_run_until_the_block_ends_and_all_end_is_known(bad: Callable[[str], Bad]) -> None:
    server = bad("503")
    with _load.Attack(server.url, BODIES, callers=3) as attack:
        time.sleep(0.5)
    found = attack.outcome()
    assert found.sent == server.asked > 10 and found.answered.total() == found.sent
    assert found.per_second > 0 and found.answered[503] == found.failed == found.sent // 10


@pytest.mark.parametrize("fault", ["", "503", "reset", "cut"])
def test_slow_callers_see_the_same(bad: Callable[[str], Bad], fault: str) -> None:
    server = bad(fault)
    with _load.Slow(server.url, BODIES, callers=8, over=0.1) as slow:
        while server.asked < 20:
            time.sleep(0.1)
    found = slow.outcome()
    assert found.sent == server.asked >= 20 and server.bodies == set(BODIES)
    failed = found.sent // 10 if fault else 0
    assert found.failed == failed
    assert (found.answered[503] if fault == "503" else found.lost.total()) == failed
    assert found.quantile(0.0) >= 0.1
    assert set(found.release[found.status == 200]) == {"abc"}


def test_a_late_request_counts_from_when_it_was_due(tmp_path: Path) -> None:
    """Four at 10 a second of which the third is sent 0.2 s late, and the fourth 0.1 s."""
    lines = "".join(
        f'{int(at * 1e9)},{code},1000000,0,0,{reason},,"",{n},POST,http://x,\n'
        for n, (at, code, reason) in enumerate(
            [(5.0, 200, ""), (5.1, 200, ""), (5.4, 503, "503 Busy"), (5.4, 0, '"EOF, sadly"')]
        )
    )
    path = tmp_path / "results.csv"
    path.write_text(lines)
    with path.open("rb") as file:
        found = _load.read(file, rate=10)
    assert np.allclose(found.seconds, [0.001, 0.001, 0.201, 0.101])
    assert found.answered == {200: 2, 503: 1} and found.lost == {"EOF, sadly": 1}
    with path.open("rb") as file:
        assert np.allclose(_load.read(file).seconds, 0.001)


def test_without_a_tool_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load.shutil, "which", lambda name: None)
    monkeypatch.setattr(_load, "BUILT", Path("nowhere"))
    _load.vegeta.cache_clear()
    with pytest.raises(UserError, match="go install"):
        _load.vegeta()
    _load.vegeta.cache_clear()
