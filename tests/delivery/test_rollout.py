"""A move loses nothing, whatever the new release is worth."""

import http.server
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipelines import params
from pipelines.delivery import checks, rollout
from pipelines.delivery import host as hosts
from pipelines.delivery.edge import Edge, Route
from pipelines.delivery.host import Host
from pipelines.delivery.journal import Journal, held
from pipelines.delivery.load import Load
from pipelines.delivery.rehearse import free_ports
from pipelines.delivery.slots import launch, process
from pipelines.delivery.store import Store
from pipelines.errors import Refused, UserError
from tests.delivery import tiny
from tests.delivery.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
def live(host: Host, store: Store, good: str) -> Host:
    """The host with `good` on one slot, the other one idle and nothing half-way."""
    assert rollout.move(host, good, store) == 0
    return host


@dataclass(frozen=True)
class Sides:
    """Where traffic is, and where it would go."""

    busy: str
    idle: str


@pytest.fixture
def sides(live: Host) -> Sides:
    route = live.edge.route()
    assert route
    return Sides(route.slot, "green" if route.slot == "blue" else "blue")


def test_a_flip_under_load_loses_nothing_and_the_old_slot_ends(
    live: Host, sides: Sides, store: Store, better: str
) -> None:
    with Load(live.edge_url, tiny.BODIES, per_second=400) as load:
        time.sleep(0.5)
        assert rollout.move(live, better, store) == 0
        time.sleep(0.5)
    assert not load.lost
    assert load.sent > 200 and load.answered[better] > 0 and len(load.answered) == 2
    assert live.edge.route() == Route(sides.idle, better)
    assert process.running(live, sides.idle) == better and process.running(live, sides.busy) is None


def test_the_load_sees_what_is_lost(live: Host) -> None:
    with Load(live.edge_url, tiny.BODIES) as load:
        time.sleep(0.3)
        live.edge.route_to(None)
        time.sleep(0.3)
    assert load.lost["status 503"] > 0 and load.answered


def test_a_release_that_is_live_already_is_left_alone(
    live: Host, sides: Sides, store: Store, good: str
) -> None:
    pid, lines = process.pid(live, sides.busy), len(live.journal.read())
    assert rollout.move(live, good, store) == 0
    assert process.pid(live, sides.busy) == pid
    assert len(live.journal.read()) == lines


def test_a_release_with_wrong_golden_rows_never_gets_traffic(
    live: Host,
    sides: Sides,
    store: Store,
    make: Callable[..., str],
    good: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = make("wrong", p=0.26)
    with Load(live.edge_url, tiny.BODIES) as load:
        assert rollout.move(live, wrong, store) == 4
    assert set(load.answered) == {good} and not load.lost
    assert live.edge.route() == Route(sides.busy, good) and process.running(live, sides.idle) is None
    assert "max |Δp| is 0.01" in capsys.readouterr().err


def test_a_release_that_fails_its_callers_loses_the_traffic_again_and_no_request(
    live: Host,
    sides: Sides,
    store: Store,
    make: Callable[..., str],
    good: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing = make("failing", errors=True)
    with Load(live.edge_url, tiny.BODIES) as load:
        assert rollout.move(live, failing, store) == 4
    assert set(load.answered) == {good} and not load.lost  # the old slot answered in its place
    assert live.edge.route() == Route(sides.busy, good)
    assert "is worse than the live release: the new release fails" in capsys.readouterr().err


def test_a_release_that_does_not_start_leaves_traffic_and_shows_its_last_words(
    live: Host,
    sides: Sides,
    store: Store,
    make: Callable[..., str],
    good: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = make("broken", exit=True)
    assert rollout.move(live, broken, store) == 4
    assert live.edge.route() == Route(sides.busy, good) and live.edge.healthy(sides.busy)
    told = capsys.readouterr().err
    assert "ended by itself, 2 times" in told and "as the test asked" in told


def test_a_server_that_ends_at_its_first_start_is_started_again(
    live: Host, sides: Sides, store: Store, make: Callable[..., str]
) -> None:
    once = make("once", exit_once=True)
    assert rollout.move(live, once, store) == 0
    assert live.edge.route() == Route(sides.idle, once)


def test_a_changed_release_is_refused_before_a_slot_starts(
    live: Host, sides: Sides, store: Store, make: Callable[..., str], good: str
) -> None:
    changed = make("changed")
    (store.folder / changed / "bento" / "src" / "service.py").write_text("")
    lines = len(live.journal.read())
    with pytest.raises(UserError, match=r"service|src was changed: it hashes to"):
        rollout.move(live, changed, store)
    with pytest.raises(UserError, match=r"release 0{12} is not in .*: make it with `ml release`"):
        rollout.move(live, "0" * 64, store)
    assert live.edge.route() == Route(sides.busy, good) and process.running(live, sides.idle) is None
    assert len(live.journal.read()) == lines


def test_a_second_deploy_says_who_holds_the_environment(live: Host, store: Store, better: str) -> None:
    with (
        held(live.place, "the deploy of 0123", "staging"),
        pytest.raises(UserError, match=r"0123 \(process \d+, since 2"),
    ):
        rollout.move(live, better, store)


def test_a_worker_that_outlived_its_server_does_not_keep_the_port(
    live: Host, sides: Sides, store: Store, good: str
) -> None:
    master = psutil.Process(process.pid(live, sides.busy))
    (worker,) = master.children()
    master.kill()
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    until(lambda: not live.edge.healthy(sides.busy))  # its checks take a moment to notice
    until(lambda: live.edge.healthy(sides.busy))
    assert process.pid(live, sides.busy) not in (0, master.pid)
    assert checks.answers(f"http://127.0.0.1:{live.slots[sides.busy]}") == good


def test_a_live_slot_that_stalls_is_waited_for_though_its_health_checks_fail(
    live: Host, sides: Sides, good: str
) -> None:
    stalled = [p for p in launch.leftovers(process.mark(live, sides.busy)) if p.status() != "zombie"]
    with Load(live.edge_url, tiny.BODIES, per_second=40, threads=20) as load:
        try:
            for each in stalled:
                each.suspend()
            until(lambda: not live.edge.healthy(sides.busy))
            time.sleep(1)  # requests that come now
        finally:
            for each in stalled:
                each.resume()
        until(lambda: live.edge.healthy(sides.busy))
    assert not load.lost and load.answered[good] >= 20, load.lost


def test_where_both_slots_hang_after_the_flip_the_old_one_is_started_again(
    live: Host,
    sides: Sides,
    store: Store,
    better: str,
    good: str,
    limits: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    limits(bake=params.Bake(seconds=30, requests=3), healthy_within=30.0, drain_within=1.0)
    monkeypatch.setattr(rollout, "RECOVERS", 1.0)

    def goes_to(slot: str) -> bool:
        route = live.edge.route()
        return route is not None and route.slot == slot

    def hang() -> None:
        until(lambda: goes_to(sides.idle), within=60)
        new, old = (launch.leftovers(process.mark(live, slot)) for slot in (sides.idle, sides.busy))
        for each in (*new, *old):
            each.suspend()
        until(lambda: goes_to(sides.busy), within=120)
        for each in new:
            each.resume()  # else its stop takes a minute

    hanging = threading.Thread(target=hang)
    hanging.start()
    assert rollout.move(live, better, store) == 4
    hanging.join()
    assert f"{sides.busy} is not healthy either: starting it again" in capsys.readouterr().err
    assert checks.answers(live.edge_url) == good
    _assert_settled(live, good)


def test_the_edge_refuses_a_route_to_nowhere_and_keeps_the_old_one(
    live: Host, sides: Sides, good: str
) -> None:
    with pytest.raises(Refused, match="unknown cluster"):
        live.edge.route_to(Route("red", "0" * 64), within=1)
    assert live.edge.route() == Route(sides.busy, good)
    assert checks.answers(live.edge_url) == good
    live.edge.route_to(Route(sides.busy, good))


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


# A move's lines: 1 begin; intent and fact of PREPARE (2, 3) and VERIFY (4, 5); 6, 7 that SHADOW and CANARY
# are left out; FLIP (8, 9), BAKE (10, 11) and RETIRE (12, 13); 14 end. The kill comes before the line.
@pytest.mark.parametrize("line", [3, 9, 11, 12, 14])
def test_killed_before_a_line_of_the_journal_the_same_command_finishes(
    host: Host, store: Store, good: str, better: str, line: int
) -> None:
    new = _other(host, store, good, better)
    with Load(host.edge_url, tiny.BODIES) as load:
        assert _killed_deploy(host, store, new, line) == -9
        assert rollout.move(host, new, store) == 0
        time.sleep(0.2)
    assert not load.lost, load.lost
    _assert_settled(host, new)
    assert host.journal.moves()[-1].result == "completed"


@pytest.mark.parametrize("line", [5, 9, 12])
def test_killed_half_way_another_release_that_is_wanted_wins(
    host: Host, store: Store, good: str, better: str, make: Callable[..., str], line: int
) -> None:
    new, third = _other(host, store, good, better), make("third")
    with Load(host.edge_url, tiny.BODIES) as load:
        assert _killed_deploy(host, store, new, line) == -9
        assert rollout.move(host, third, store) == 0
    assert not load.lost, load.lost
    _assert_settled(host, third)
    assert all(move.result for move in host.journal.moves())


@pytest.mark.parametrize("line", [12])
def test_killed_while_it_turns_back_the_same_command_turns_back(
    live: Host, sides: Sides, store: Store, make: Callable[..., str], good: str, line: int
) -> None:
    failing = make("failing", errors=True)
    with Load(live.edge_url, tiny.BODIES) as load:
        assert _killed_deploy(live, store, failing, line) == -9
        assert rollout.move(live, failing, store) == 4
    assert not load.lost, load.lost
    assert live.edge.route() == Route(sides.busy, good)
    _assert_settled(live, good)


def test_a_cut_last_line_of_the_journal_is_no_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write("a", "begin", **{"release": "r", "slot": "blue", "from": None, "why": "release"})
    with journal.path.open("ab") as file:
        file.write(b'{"at": "2013-')
    assert journal.moves()[0].result is None
    journal.write("a", "end", result="completed")
    assert [line["event"] for line in journal.read()] == ["begin", "end"]
    journal.path.write_text("{\n" + journal.path.read_text())
    with pytest.raises(UserError, match="damaged"):
        journal.read()


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines import params
from pipelines.delivery import journal, rollout
from pipelines.delivery.host import Host
from pipelines.delivery.store import Store

write, count = journal.Journal.write, 0

def counted(*arguments, **details):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments, **details)

journal.Journal.write = counted
given = params.load()
bake = params.Bake(seconds=0.6, requests=3)
quick = given.model_copy(update={"rollout": given.rollout.model_copy(update={"bake": bake})})
params.load = lambda: quick
sys.exit(rollout.move(Host.load("staging", Path(sys.argv[1])), sys.argv[2], Store(sys.argv[4])))
"""


def _other(host: Host, store: Store, good: str, better: str) -> str:
    """One of the two that is not live; the other one is."""
    route = host.edge.route()
    if route is None or route.release not in (good, better):
        assert rollout.move(host, good, store) == 0
        return better
    return better if route.release == good else good


def _assert_settled(host: Host, release: str) -> None:
    route = host.edge.route()
    assert route and route.release == release and route.fallback is None
    runs = {slot: process.running(host, slot) for slot in host.slots}
    assert runs.pop(route.slot) == release and list(runs.values()) == [None]


def _killed_deploy(host: Host, store: Store, release: str, line: int) -> int:
    arguments = [str(host.home), release, str(line), str(store.folder)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], cwd=tiny.ROOT, capture_output=True, text=True
    )
    return done.returncode
