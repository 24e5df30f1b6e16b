"""A move loses nothing, whatever the new release is worth."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipelines.base.errors import Refused, UserError
from pipelines.base.locks import held
from pipelines.core import params
from pipelines.edge.edge import Route
from pipelines.host.host import Host
from pipelines.host.slots import launch, process
from pipelines.registry.store import Store
from pipelines.rollout import checks, deploy, engine
from pipelines.rollout.journal import Journal
from pipelines.rollout.load import Load
from tests.delivery import tiny
from tests.delivery.waiting import child, until
from tests.problems.parcels import PARAMS_FILE

pytestmark = pytest.mark.slow


@pytest.fixture
def live(host: Host, store: Store, good: str) -> Host:
    """The host with `good` on one slot, the other one idle and nothing half-way."""
    assert deploy.move(host, tiny.CONTRACT, good, store) == 0
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
    with Load(live.edge_url, tiny.CALLS, per_second=400) as load:
        time.sleep(0.5)
        assert deploy.move(live, tiny.CONTRACT, better, store) == 0
        time.sleep(0.5)
    assert not load.lost
    assert load.sent > 200 and load.answered[better] > 0 and len(load.answered) == 2
    assert live.edge.route() == Route(sides.idle, better)
    assert process.running(live.slot(sides.idle)) == better and process.running(live.slot(sides.busy)) is None


def test_the_load_sees_what_is_lost(live: Host) -> None:
    with Load(live.edge_url, tiny.CALLS) as load:
        time.sleep(0.3)
        live.edge.route_to(None)
        time.sleep(0.3)
    assert load.lost["status 503"] > 0 and load.answered


def test_a_release_that_is_live_already_is_left_alone(
    live: Host, sides: Sides, store: Store, good: str
) -> None:
    pid, lines = child(live, live.slot(sides.busy).program), len(Journal(live.place).read())
    assert deploy.move(live, tiny.CONTRACT, good, store) == 0
    assert child(live, live.slot(sides.busy).program) == pid
    assert len(Journal(live.place).read()) == lines


def test_a_release_with_wrong_golden_rows_never_gets_traffic(
    live: Host,
    sides: Sides,
    store: Store,
    make: Callable[..., str],
    good: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = make("wrong", p=0.26)
    with Load(live.edge_url, tiny.CALLS) as load:
        assert deploy.move(live, tiny.CONTRACT, wrong, store) == 4
    assert set(load.answered) == {good} and not load.lost
    assert live.edge.route() == Route(sides.busy, good) and process.running(live.slot(sides.idle)) is None
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
    with Load(live.edge_url, tiny.CALLS) as load:
        assert deploy.move(live, tiny.CONTRACT, failing, store) == 4
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
    assert deploy.move(live, tiny.CONTRACT, broken, store) == 4
    assert live.edge.route() == Route(sides.busy, good) and live.edge.healthy(sides.busy)
    told = capsys.readouterr().err
    assert "ended by itself, 2 times" in told and "as the test asked" in told


def test_a_server_that_ends_at_its_first_start_is_started_again(
    live: Host, sides: Sides, store: Store, make: Callable[..., str]
) -> None:
    once = make("once", exit_once=True)
    assert deploy.move(live, tiny.CONTRACT, once, store) == 0
    assert live.edge.route() == Route(sides.idle, once)


def test_a_changed_release_is_refused_before_a_slot_starts(
    live: Host, sides: Sides, store: Store, make: Callable[..., str], good: str
) -> None:
    changed = make("changed")
    (store.folder / changed / "bento" / "src" / "service.py").write_text("")
    lines = len(Journal(live.place).read())
    with pytest.raises(UserError, match=r"service|src was changed: it hashes to"):
        deploy.move(live, tiny.CONTRACT, changed, store)
    with pytest.raises(UserError, match=r"release 0{12} is not in .*: make it with `ml release`"):
        deploy.move(live, tiny.CONTRACT, "0" * 64, store)
    assert live.edge.route() == Route(sides.busy, good) and process.running(live.slot(sides.idle)) is None
    assert len(Journal(live.place).read()) == lines


def test_a_second_deploy_says_who_holds_the_environment(live: Host, store: Store, better: str) -> None:
    with (
        held(live.place, "the deploy of 0123", "staging"),
        pytest.raises(UserError, match=r"0123 \(process \d+, since 2"),
    ):
        deploy.move(live, tiny.CONTRACT, better, store)


def test_a_worker_that_outlived_its_server_does_not_keep_the_port(
    live: Host, sides: Sides, store: Store, good: str
) -> None:
    master = psutil.Process(child(live, live.slot(sides.busy).program))
    (worker,) = master.children()
    master.kill()
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    until(lambda: not live.edge.healthy(sides.busy))  # its checks take a moment to notice
    until(lambda: live.edge.healthy(sides.busy))
    assert child(live, live.slot(sides.busy).program) not in (0, master.pid)
    assert checks.answers(live.slot(sides.busy).url) == good


def test_a_live_slot_that_stalls_is_waited_for_though_its_health_checks_fail(
    live: Host, sides: Sides, good: str
) -> None:
    stalled = [p for p in launch.leftovers(live.slot(sides.busy).mark) if p.status() != "zombie"]
    with Load(live.edge_url, tiny.CALLS, per_second=40, threads=20) as load:
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
    monkeypatch.setattr(engine, "RECOVERS_SECONDS", 1.0)

    def goes_to(slot: str) -> bool:
        route = live.edge.route()
        return route is not None and route.slot == slot

    def hang() -> None:
        until(lambda: goes_to(sides.idle), within=60)
        new, old = (launch.leftovers(live.slot(slot).mark) for slot in (sides.idle, sides.busy))
        for each in (*new, *old):
            each.suspend()
        until(lambda: goes_to(sides.busy), within=120)
        for each in new:
            each.resume()  # else its stop takes a minute

    hanging = threading.Thread(target=hang)
    hanging.start()
    assert deploy.move(live, tiny.CONTRACT, better, store) == 4
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


# A move's lines: 1 begin; intent and fact of PREPARE (2, 3) and VERIFY (4, 5); 6, 7 that SHADOW and CANARY
# are left out; FLIP (8, 9), BAKE (10, 11) and RETIRE (12, 13); 14 end. The kill comes before the line.
@pytest.mark.parametrize("line", [3, 9, 11, 12, 14])
def test_killed_before_a_line_of_the_journal_the_same_command_finishes(
    host: Host, store: Store, good: str, better: str, line: int
) -> None:
    new = _other(host, store, good, better)
    with Load(host.edge_url, tiny.CALLS) as load:
        assert _killed_deploy(host, store, new, line) == -9
        assert deploy.move(host, tiny.CONTRACT, new, store) == 0
        time.sleep(0.2)
    assert not load.lost, load.lost
    _assert_settled(host, new)
    assert Journal(host.place).moves()[-1].result == "completed"


@pytest.mark.parametrize("line", [5, 9, 12])
def test_killed_half_way_another_release_that_is_wanted_wins(
    host: Host, store: Store, good: str, better: str, make: Callable[..., str], line: int
) -> None:
    new, third = _other(host, store, good, better), make("third")
    with Load(host.edge_url, tiny.CALLS) as load:
        assert _killed_deploy(host, store, new, line) == -9
        assert deploy.move(host, tiny.CONTRACT, third, store) == 0
    assert not load.lost, load.lost
    _assert_settled(host, third)
    assert all(move.result for move in Journal(host.place).moves())


@pytest.mark.parametrize("line", [12])
def test_killed_while_it_turns_back_the_same_command_turns_back(
    live: Host, sides: Sides, store: Store, make: Callable[..., str], good: str, line: int
) -> None:
    failing = make("failing", errors=True)
    with Load(live.edge_url, tiny.CALLS) as load:
        assert _killed_deploy(live, store, failing, line) == -9
        assert deploy.move(live, tiny.CONTRACT, failing, store) == 4
    assert not load.lost, load.lost
    assert live.edge.route() == Route(sides.busy, good)
    _assert_settled(live, good)


def test_a_cut_last_line_of_the_journal_is_no_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
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
from pipelines.core import params
from pipelines.rollout import journal, deploy
from pipelines.host.host import Host
from pipelines.registry.store import Store
from tests.delivery import tiny

write, count = journal.Journal.write, 0

def counted(*arguments, **details):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments, **details)

journal.Journal.write = counted
given = params.load(sys.argv[6])
bake = params.Bake(seconds=0.6, requests=3)
quick = given.model_copy(update={"rollout": given.rollout.model_copy(update={"bake": bake})})
params.load = lambda: quick
host = Host.load("staging", sys.argv[5], Path(sys.argv[1]))
sys.exit(deploy.move(host, tiny.CONTRACT, sys.argv[2], Store(sys.argv[4])))
"""


def _other(host: Host, store: Store, good: str, better: str) -> str:
    """One of the two that is not live; the other one is."""
    route = host.edge.route()
    if route is None or route.release not in (good, better):
        assert deploy.move(host, tiny.CONTRACT, good, store) == 0
        return better
    return better if route.release == good else good


def _assert_settled(host: Host, release: str) -> None:
    route = host.edge.route()
    assert route and route.release == release and route.fallback is None
    runs = {slot.colour: process.running(slot) for slot in host.slots}
    assert runs.pop(route.slot) == release and list(runs.values()) == [None]


def _killed_deploy(host: Host, store: Store, release: str, line: int) -> int:
    arguments = [str(host.home), release, str(line), str(store.folder), host.model, str(PARAMS_FILE)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], cwd=tiny.ROOT, capture_output=True, text=True
    )
    return done.returncode
