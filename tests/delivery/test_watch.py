"""The watch deploys what the ledger names; it looks when it should, and ends when asked."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.base.errors import Refused, UserError
from pipelines.base.locks import held
from pipelines.core.contract import Contract
from pipelines.edge.edge import Route
from pipelines.host import services
from pipelines.host.host import Host
from pipelines.registry.ledger import BRANCH, Entry, Ledger
from pipelines.registry.store import Store
from pipelines.rollout import deploy as rollout
from pipelines.rollout import watch as watching
from pipelines.rollout.journal import Journal
from pipelines.rollout.watch import told, watch
from pipelines.setup import host as doctor
from pipelines.setup.check import State
from tests import project
from tests.delivery import tiny
from tests.delivery.merging import merge
from tests.delivery.world import A, B, C, World, file_of, lines
from tests.problems.parcels import PARAMS_FILE
from tests.project import git

# --- what it deploys --------------------------------------------------------------------------------------


def test_it_deploys_what_the_ledger_names_and_then_leaves_it_alone(world: World) -> None:
    watcher = world.watch()
    world.want(A)
    for _ in range(3):
        watcher.round()
    assert world.deployed == [A]
    world.want(B)
    for _ in range(2):
        watcher.round()
    assert world.deployed == [A, B] and watcher.seen.trouble is None


def test_it_needs_no_right_to_push(world: World) -> None:
    world.want(A)
    world.watch().round()
    assert world.deployed == [A]
    with pytest.raises(UserError, match="refused the ledger's branch"):  # the checkout has none
        Ledger(world.checkout).write("staging", Entry(release=B, commit="0" * 40, by="me"))


def test_an_unfinished_move_is_gone_on_with_although_the_release_runs(world: World) -> None:
    world.want(A)
    watcher = world.watch()
    watcher.round()
    journal = Journal(world.host.place)
    journal.write("1", "begin", **{"release": A, "slot": "blue", "from": None, "why": "release"})
    watcher.round()
    assert world.deployed == [A, A]
    journal.write("1", "end", result="completed")
    watcher.round()
    assert world.deployed == [A, A]


def test_a_refused_release_waits_for_another_commit_of_its_entry_and_no_restart_forgets_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.want(A)
    world.watch().round()
    world.ends[B] = 4
    world.want(B)
    watcher = world.watch()
    for _ in range(3):
        watcher.round()
    world.want(A, "production")  # the branch moves, this entry does not
    watcher.round()
    world.watch().round()
    assert world.deployed == [A, B]
    assert sum("bbbbbbbbbbbb was refused" in line for line in lines(capsys)) == 2  # one a start

    world.push({"staging.json": file_of(B).replace('"me"', '"a person"')})
    watcher.round()
    watcher.round()
    assert world.deployed == [A, B, B]
    world.want(C)
    watcher.round()
    assert world.deployed == [A, B, B, C] and watcher.seen.trouble is None


def test_a_watch_that_forgot_a_refusal_would_be_seen_to_try_again(world: World) -> None:
    world.want(A)
    world.ends[A] = 4
    watcher = world.watch()
    watcher.round()
    watcher.seen.refused = None
    watcher.round()
    assert world.deployed == [A, A]


def test_a_held_release_is_tried_again_at_each_look(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.want(A)
    world.ends[A] = 3
    watcher = world.watch()
    for _ in range(3):
        watcher.round()
    assert world.deployed == [A, A, A]
    assert sum("is held" in line for line in lines(capsys)) == 1
    world.ends[A] = 0
    watcher.round()
    assert watcher.seen.trouble is None and "over after" in lines(capsys)[-1]


def test_another_deploy_of_the_environment_is_waited_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.want(A)
    watcher = world.watch()
    with held(world.host.place, "the deploy of a person", "staging"):
        for _ in range(3):
            watcher.round()
    assert world.deployed == []
    assert sum("staging is held by the deploy of a person" in line for line in lines(capsys)) == 1
    watcher.round()
    assert world.deployed == [A]


def test_once_ends_as_a_deploy_does(world: World) -> None:
    with pytest.raises(UserError, match="names no release for staging"):
        watch("staging", tiny.CONTRACT, once=True, home=world.home)
    world.want(A)
    assert watch("staging", tiny.CONTRACT, once=True, home=world.home) == 0
    world.want(B)
    world.ends[B] = 3
    assert watch("staging", tiny.CONTRACT, once=True, home=world.home) == 3
    world.ends[B] = 4
    for _ in range(2):
        with pytest.raises(Refused, match="was refused"):
            watch("staging", tiny.CONTRACT, once=True, home=world.home)
    assert world.deployed == [A, B, B]
    with pytest.raises(UserError, match="no host for nowhere"):
        watch("nowhere", tiny.CONTRACT, once=True, home=world.home)


# --- when it looks, and how it ends -----------------------------------------------------------------------


def test_looks_are_spread_and_rarer_while_the_remote_is_out_of_reach_up_to_a_bound() -> None:
    waits = {
        unreached: [watching.pause(30, unreached) for _ in range(300)] for unreached in (0, 2, 9, 10_000)
    }
    for unreached, middle in {0: 30, 2: 120, 9: 300, 10_000: 300}.items():
        assert 0.75 * middle <= min(waits[unreached]) < 0.85 * middle
        assert 1.15 * middle < max(waits[unreached]) <= 1.25 * middle
    assert watching.pause(3600, 5) >= 2700  # never more often than it was told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_between_two_looks_ends_it_at_once(
    world: World, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.want(A)
    waiting = threading.Event()
    pause = watching.pause

    def about_to_wait(every: float, unreached: int) -> float:
        waiting.set()
        return pause(every, unreached)

    monkeypatch.setattr(watching, "pause", about_to_wait)

    def end() -> None:
        assert waiting.wait(60)
        time.sleep(0.2)
        os.kill(os.getpid(), number)

    thread, before = threading.Thread(target=end), signal.getsignal(signal.SIGTERM)
    thread.start()
    assert watch("staging", tiny.CONTRACT, every=100_000, home=world.home) == 0
    thread.join()
    assert world.deployed == [A] and signal.getsignal(signal.SIGTERM) == before


# --- what status shows ------------------------------------------------------------------------------------


def test_status_has_a_line_of_the_watch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(world.host) == "" and doctor._watch(world.host) == []
    world.want(A)
    world.ends[B] = 4
    monkeypatch.setattr(watching, "pause", lambda every, unreached: 0.0)
    during: list[str] = []

    def deploy(env: str, contract: Contract, home: Path | None = None) -> int:
        during.append(told(world.host))
        return world.deploy(env, home)

    monkeypatch.setattr(rollout, "deploy", deploy)
    watch("staging", tiny.CONTRACT, once=True, home=world.home)
    head = git(world.origin, "rev-parse", BRANCH)
    assert during[0].startswith("deploys aaaaaaaaaaaa since")
    assert told(world.host) == f"looked 0 s ago, ledger {head[:12]}"
    assert [check.state for check in doctor._watch(world.host)] == [State.ON]
    world.want(B)
    watcher = world.watch()
    watcher.round()
    watcher._save(again=watcher.seen.looked)
    assert "bbbbbbbbbbbb was refused" in told(world.host)
    assert [check.fails for check in doctor._watch(world.host)] == [True]
    watcher.seen.trouble = None
    watcher._save(again=watcher.seen.looked)
    assert [check.fails for check in doctor._watch(world.host)] == [False]
    monkeypatch.setattr(watching, "LATE_SECONDS", -1.0)
    assert "should have again: is `ml watch` running?" in told(world.host)
    assert [check.fails for check in doctor._watch(world.host)] == [True]


def test_a_broken_watch_json_is_begun_anew(world: World) -> None:
    (world.host.place / "watch.json").write_text("{")
    assert told(world.host) == ""
    world.want(A)
    world.watch().round()
    assert world.deployed == [A] and told(world.host)


# --- the real thing ---------------------------------------------------------------------------------------


@pytest.fixture
def followed(tmp_path: Path, host: Host, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`ml watch` in a checkout that may only read, following an origin beside it."""
    world = tmp_path
    git(world, "init", "--quiet", "--bare", "origin.git")
    git(world, "clone", "--quiet", str(world / "origin.git"), "checkout")
    git(world, "clone", "--quiet", str(world / "origin.git"), "writer")
    shutil.copyfile(PARAMS_FILE, world / "checkout" / "params.yaml")
    with (world / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "watch", "--env", "staging", "--every", "1"],
            cwd=world / "checkout",
            env={**os.environ, "PYTHONPATH": str(project.code()), "GREENLIGHT_HOME": str(home)},
            stderr=log,
            start_new_session=True,
        )
    (world / "pid").write_text(str(running.pid))
    yield world
    running.terminate()
    code = running.wait(60)
    (world / "code").write_text(str(code))
    assert code == 0, (world / "log").read_text()
    assert host.supervisor.alive()  # what the watch started goes on without it


@pytest.mark.slow
def test_it_deploys_and_brings_a_dead_host_back_without_the_remote(
    followed: Path, host: Host, store: Store, make: Callable[..., str]
) -> None:
    def until(true: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not true():
            assert time.monotonic() < end, (followed / "log").read_text()
            time.sleep(0.2)

    def live(release: str) -> bool:
        route = host.edge.route()
        return services.alive(host) and route == Route(route.slot, release) if route else False

    writer = Ledger(followed / "writer")
    first, second = make("first"), make("second")
    merged = [merge(followed / "origin.git", store.folder / release) for release in (first, second)]
    writer.write("staging", Entry(release=first, commit=merged[0], by="me"))
    until(lambda: live(first))

    (followed / "origin.git").rename(followed / "away")
    until(lambda: "cannot be reached" in (followed / "log").read_text())
    services.stop(host)  # as a reboot does
    until(lambda: live(first) and host.edge.healthy(host.edge.route().slot))  # type: ignore[union-attr]

    (followed / "away").rename(followed / "origin.git")
    writer.write("staging", Entry(release=second, commit=merged[1], by="me"))
    until(lambda: live(second))
    seen = json.loads((host.place / "watch.json").read_text())
    assert seen["head"] == git(followed / "origin.git", "rev-parse", BRANCH)
