"""Whoever is killed, traffic goes on where it can, and the next command finds what still runs."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from pipelines.base.errors import Refused
from pipelines.edge.edge import Route
from pipelines.host import services
from pipelines.host.host import Host
from pipelines.host.slots import launch, process
from pipelines.registry.store import Store
from pipelines.rollout import checks, deploy
from pipelines.rollout.load import Load
from tests.delivery import tiny
from tests.delivery.waiting import child, edge_process, never, runs, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def good(make: Callable[..., str]) -> str:
    """A release that says a word at each request, as a team's own may."""
    return make("good", prints=True)


@pytest.fixture(scope="module")
def better(make: Callable[..., str]) -> str:
    return make("better")


@pytest.fixture
def live(host: Host, store: Store, good: str) -> Iterator[Host]:
    """The host with `good` on one slot, the other one idle; whole again after a test."""
    services.revive(host)
    assert deploy.move(host, tiny.CONTRACT, good, store) == 0
    yield host
    services.revive(host)


@pytest.fixture
def slot(live: Host) -> str:
    route = live.edge.route()
    assert route
    return route.slot


@pytest.mark.parametrize("times", [1, 3])
def test_a_killed_edge_comes_back_on_its_route(live: Host, slot: str, good: str, times: int) -> None:
    with Load(live.edge_url, tiny.CALLS) as load:
        for _ in range(times):
            time.sleep(0.3)
            killed = _kill(edge_process(live))
            until(lambda killed=killed: edge_process(live) not in (0, killed))  # type: ignore[misc]
            until(live.edge.ready)
        answered = load.answered[good]
        until(lambda: load.answered[good] > answered + 50)
        lost = load.lost.total()
        time.sleep(0.3)
    assert load.lost.total() == lost, "what is lost is lost while the edge is away, and not after it"
    assert lost, "without a loss nothing was killed"
    assert set(load.answered) == {good} and live.edge.route() == Route(slot, good)


def test_a_killed_keeper_loses_nothing_and_the_next_one_keeps_the_same_edge(live: Host) -> None:
    edge, keeper = edge_process(live), child(live, "edge")
    with Load(live.edge_url, tiny.CALLS) as load:
        time.sleep(0.3)
        _kill(keeper)
        until(lambda: child(live, "edge") not in (0, keeper))
        time.sleep(0.5)
    assert not load.lost, load.lost
    assert edge_process(live) == edge
    _kill(edge)
    until(lambda: edge_process(live) not in (0, edge))
    assert psutil.Process(edge_process(live)).ppid() == child(live, "edge")
    until(live.edge.ready)


def test_a_killed_supervisor_loses_nothing_and_the_next_command_finds_its_children(
    live: Host, slot: str, store: Store, good: str, better: str
) -> None:
    edge, server = edge_process(live), process.server(live.slot(slot))
    with Load(live.edge_url, tiny.CALLS, per_second=400) as load:
        time.sleep(0.3)
        _kill(_supervisor(live))
        time.sleep(1.0)
        assert not live.supervisor.alive() and process.running(live.slot(slot)) == good
        assert services.revive(live)
        assert services.alive(live) and process.running(live.slot(slot)) == good
        assert (edge_process(live), process.server(live.slot(slot))) == (edge, server)
        assert child(live, live.slot(slot).program) not in (0, server)  # it waits for its turn
        assert deploy.move(live, tiny.CONTRACT, better, store) == 0
        time.sleep(0.3)
    assert not load.lost, load.lost
    assert set(load.answered) == {good, better}
    assert not launch.leftovers(live.slot(slot).mark) and process.server(live.slot(slot)) == 0


def test_an_orphan_that_is_killed_is_replaced_by_the_one_that_waits(live: Host, slot: str, good: str) -> None:
    _kill(_supervisor(live))
    services.revive(live)
    server, waits = process.server(live.slot(slot)), child(live, live.slot(slot).program)
    (worker,) = psutil.Process(server).children()
    _kill(server)
    until(lambda: process.server(live.slot(slot)) == waits)
    until(lambda: not runs(worker))
    until(lambda: _answers(live, slot) == good)
    assert process.running(live.slot(slot)) == good


def test_an_edge_that_dies_without_a_supervisor_comes_back_all_the_same(live: Host, good: str) -> None:
    edge = edge_process(live)
    _kill(_supervisor(live))
    _kill(edge)
    until(lambda: edge_process(live) not in (0, edge))
    until(live.edge.ready)
    assert checks.answers(live.edge_url) == good
    assert not live.supervisor.alive()


def test_all_that_is_killed_at_once_comes_back_by_one_command(live: Host, slot: str, good: str) -> None:
    for mark in (live.mark, *(slot.mark for slot in live.slots)):
        launch.clear(mark)
    assert not services.alive(live) and edge_process(live) == process.server(live.slot(slot)) == 0
    services.revive(live)
    until(lambda: live.edge.healthy(slot))
    assert checks.answers(live.edge_url) == good


def test_a_stopped_edge_is_started_and_a_host_that_lives_is_left_alone(live: Host) -> None:
    live.supervisor._call("stopProcess", "edge")
    assert not live.edge.ready() and edge_process(live) == 0
    assert services.revive(live)
    pids = {p.pid for p in launch.leftovers(live.mark)}
    assert not services.revive(live)
    assert live.edge.ready() and {p.pid for p in launch.leftovers(live.mark)} == pids


def test_two_killed_supervisors_leave_one_server_and_a_stop_leaves_none(
    live: Host, slot: str, good: str
) -> None:
    server = process.server(live.slot(slot))
    for _ in range(2):
        _kill(_supervisor(live))
        services.revive(live)
    assert process.server(live.slot(slot)) == server and _answers(live, slot) == good
    process.stop(live.slot(slot))
    assert not launch.leftovers(live.slot(slot).mark)
    never(lambda: process.server(live.slot(slot)) != 0)


def test_a_slot_killed_twice_in_a_row_serves_again(live: Host, slot: str, good: str) -> None:
    for _ in range(2):
        killed = _kill(process.server(live.slot(slot)))
        until(lambda killed=killed: process.server(live.slot(slot)) not in (0, killed))  # type: ignore[misc]
    until(lambda: live.edge.healthy(slot))
    until(lambda: _answers(live, slot) == good)


def test_an_orphan_answers_what_it_has_begun_before_it_ends(
    live: Host, slot: str, store: Store, make: Callable[..., str]
) -> None:
    slow, idle = make("slow", slow=2.0), "green" if slot == "blue" else "blue"
    process.start(live.slot(idle), slow, store.get(slow))
    until(lambda: _answers(live, idle) == slow)
    _kill(_supervisor(live))
    services.revive(live)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(_answers, live, idle, "/predict")
        time.sleep(0.7)
        process.stop(live.slot(idle))
        assert asked.result() == slow
        assert not launch.leftovers(live.slot(idle).mark)


def test_a_release_that_an_orphan_serves_is_never_taken_for_another(
    live: Host, slot: str, store: Store, good: str, better: str
) -> None:
    idle = "green" if slot == "blue" else "blue"
    process.start(live.slot(idle), better, store.get(better))
    until(lambda: _answers(live, idle) == better)
    orphan = process.server(live.slot(idle))
    _kill(_supervisor(live))
    with pytest.raises(OSError):
        process.start(live.slot(idle), good, store.get(good))  # no supervisor: half-way, as if killed here
    services.revive(live)
    process.start(live.slot(idle), good, store.get(good))
    until(lambda: _answers(live, idle) == good)
    assert process.running(live.slot(idle)) == good and process.server(live.slot(idle)) != orphan
    process.stop(live.slot(idle))


def test_an_edge_that_cannot_start_is_refused_and_the_slots_serve_on(
    live: Host, slot: str, good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = process.server(live.slot(slot))
    monkeypatch.setattr(type(live.edge), "command", lambda *_: ["/nowhere/envoy"])
    launch.clear(live.mark)
    for bring_up in (services.revive, services.start):
        with pytest.raises(Refused, match=r"did not answer within 2 s: .*/nowhere/envoy"):
            bring_up(live, within=2)
    assert process.server(live.slot(slot)) == server and _answers(live, slot) == good
    monkeypatch.undo()
    launch.clear(live.mark)
    services.revive(live)
    assert process.server(live.slot(slot)) == server


def _supervisor(host: Host) -> int:
    return int((host.folder / "supervisor" / "supervisord.pid").read_text())


def _kill(pid: int) -> int:
    assert pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid) or not runs(psutil.Process(pid)))
    return pid


def _answers(host: Host, slot: str, path: str = "/release") -> str:
    """The release that answers at the slot's own port, or ""."""
    body = tiny.BODIES[0] if path == "/predict" else None
    request = urllib.request.Request(host.slot(slot).url + path, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(json.loads(answer.read())["release"])
    except OSError:
        return ""
