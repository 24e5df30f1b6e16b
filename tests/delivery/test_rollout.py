"""A move loses nothing, whatever the new release is worth."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.delivery import rollout
from pipelines.delivery.edge import Route
from pipelines.delivery.host import Host
from pipelines.delivery.journal import Journal, held
from pipelines.delivery.load import Load
from pipelines.delivery.slots import process
from pipelines.delivery.store import Store
from pipelines.errors import Refused, UserError
from tests.delivery import tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def good(make: Callable[..., str]) -> str:
    return make("good")


@pytest.fixture(scope="module")
def better(make: Callable[..., str]) -> str:
    return make("better")


@pytest.fixture
def live(empty: Host, store: Store, good: str) -> Host:
    assert rollout.move(empty, good, store) == 0
    return empty


def test_a_flip_under_load_loses_nothing_and_the_old_slot_ends(live: Host, store: Store, better: str) -> None:
    with Load(live.edge_url, tiny.BODIES, per_second=400) as load:
        time.sleep(0.5)
        assert rollout.move(live, better, store) == 0
        time.sleep(0.5)
    assert not load.lost
    assert load.sent > 200 and load.answered[better] > 0 and len(load.answered) == 2
    assert live.edge.route() == Route("green", better)
    assert process.running(live, "green") == better and process.running(live, "blue") is None


def test_the_load_sees_what_is_lost(live: Host) -> None:
    with Load(live.edge_url, tiny.BODIES) as load:
        time.sleep(0.3)
        live.edge.route_to(None)
        time.sleep(0.3)
    assert load.lost["status 503"] > 0 and load.answered


def test_a_release_that_is_live_already_is_left_alone(live: Host, store: Store, good: str) -> None:
    pid, lines = live.supervisor.pid("slot-blue"), len(Journal(live.folder / "journal.jsonl").read())
    assert rollout.move(live, good, store) == 0
    assert live.supervisor.pid("slot-blue") == pid
    assert len(Journal(live.folder / "journal.jsonl").read()) == lines


def test_a_release_with_wrong_golden_rows_never_gets_traffic(
    live: Host, store: Store, make: Callable[..., str], good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = make("wrong", p=0.26)
    with Load(live.edge_url, tiny.BODIES) as load:
        assert rollout.move(live, wrong, store) == 4
    assert set(load.answered) == {good} and not load.lost
    assert live.edge.route() == Route("blue", good) and process.running(live, "green") is None
    assert "max |Δp| is 0.01" in capsys.readouterr().err


def test_a_release_that_fails_its_callers_loses_the_traffic_again_and_no_request(
    live: Host, store: Store, make: Callable[..., str], good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = make("failing", errors=True)
    with Load(live.edge_url, tiny.BODIES) as load:
        assert rollout.move(live, failing, store) == 4
    assert set(load.answered) == {good} and not load.lost  # the old slot answered in its place
    assert live.edge.route() == Route("blue", good)
    assert "failed at" in capsys.readouterr().err


def test_a_release_that_does_not_start_leaves_traffic_and_shows_its_last_words(
    live: Host,
    store: Store,
    make: Callable[..., str],
    good: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = rollout.params.load().rollout.model_copy(update={"healthy_within": 3.0})  # type: ignore[attr-defined]
    monkeypatch.setattr(rollout.params.load(), "rollout", limits)
    monkeypatch.setattr(rollout.params, "load", lambda: type("P", (), {"rollout": limits}))
    broken = make("broken", exit=True)
    assert rollout.move(live, broken, store) == 4
    assert live.edge.route() == Route("blue", good) and live.edge.healthy("blue")
    assert "as the test asked" in capsys.readouterr().err


def test_a_changed_release_is_refused_before_a_slot_starts(
    live: Host, store: Store, make: Callable[..., str], good: str
) -> None:
    changed = make("changed")
    (store.folder / changed / "bento" / "src" / "service.py").write_text("")
    assert rollout.move(live, changed, store) == 4
    assert live.edge.route() == Route("blue", good) and process.running(live, "green") is None


def test_a_second_deploy_says_who_holds_the_environment(live: Host, store: Store, better: str) -> None:
    with (
        held(live.folder, "the deploy of 0123"),
        pytest.raises(UserError, match=r"0123 \(process \d+, since 2"),
    ):
        rollout.move(live, better, store)


def test_a_worker_that_outlived_its_server_does_not_keep_the_port(
    live: Host, store: Store, good: str
) -> None:
    import psutil

    master = psutil.Process(live.supervisor.pid("slot-blue"))
    (worker,) = master.children()
    master.kill()
    _until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    _until(lambda: live.edge.healthy("blue") and live.supervisor.pid("slot-blue") not in (0, master.pid))
    assert rollout.checks.answers(f"http://127.0.0.1:{live.slots['blue']}") == good


def test_the_edge_refuses_a_route_to_nowhere_and_keeps_the_old_one(live: Host, good: str) -> None:
    with pytest.raises(Refused, match="unknown cluster"):
        live.edge.route_to(Route("red", "0" * 64), within=1)
    assert live.edge.route() == Route("blue", good)
    live.edge.confirm()
    assert rollout.checks.answers(live.edge_url) == good


@pytest.mark.parametrize("nth", [1, 3, 6, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18])
def test_killed_at_any_line_of_the_journal_the_same_command_finishes(
    live: Host, store: Store, better: str, nth: int
) -> None:
    with Load(live.edge_url, tiny.BODIES) as load:
        assert _killed_deploy(live, store, better, nth) == -9
        assert rollout.move(live, better, store) == 0
        time.sleep(0.2)
    assert not load.lost, load.lost
    assert live.edge.route() == Route("green", better)
    assert process.running(live, "blue") is None
    assert Journal(live.folder / "journal.jsonl").moves()[-1].result == "completed"


@pytest.mark.parametrize("nth", [5, 10, 14, 16])
def test_killed_half_way_another_wanted_release_wins(
    live: Host, store: Store, better: str, make: Callable[..., str], nth: int
) -> None:
    other = make("other")
    with Load(live.edge_url, tiny.BODIES) as load:
        assert _killed_deploy(live, store, better, nth) == -9
        assert rollout.move(live, other, store) == 0
    assert not load.lost, load.lost
    route = live.edge.route()
    assert route and route.release == other and route.fallback is None
    assert sorted(str(process.running(live, slot)) for slot in live.slots) == sorted(["None", other])


@pytest.mark.parametrize("nth", [12, 13, 14])
def test_killed_while_it_turns_back_the_same_command_turns_back(
    live: Host, store: Store, make: Callable[..., str], good: str, nth: int
) -> None:
    failing = make("failing", errors=True)
    with Load(live.edge_url, tiny.BODIES) as load:
        _killed_deploy(live, store, failing, nth)
        assert rollout.move(live, failing, store) == 4
    assert not load.lost, load.lost
    assert live.edge.route() == Route("blue", good) and process.running(live, "green") is None


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
    if count == int(sys.argv[3]) :
        if count % 2:
            write(*arguments, **details)  # half of the kills come after the line, half before it
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments, **details)

journal.Journal.write = counted
limits = params.load().rollout.model_copy(update={"watch": 1.0})
params.load = lambda: type("P", (), {"rollout": limits})
sys.exit(rollout.move(Host.load("staging", Path(sys.argv[1])), sys.argv[2], Store(sys.argv[4])))
"""


def _killed_deploy(host: Host, store: Store, release: str, nth: int) -> int:
    arguments = [str(host.home), release, str(nth), str(store.folder)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], cwd=tiny.ROOT, capture_output=True, text=True
    )
    return done.returncode


def _until(true: Callable[[], bool], within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
