"""The watch follows the ledger, and stays on what runs whatever becomes of the ledger."""

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

from pipelines.delivery import host as hosts
from pipelines.delivery import ledger, rollout, terraform
from pipelines.delivery import watch as watching
from pipelines.delivery.edge import Edge, Route
from pipelines.delivery.host import Host
from pipelines.delivery.journal import held
from pipelines.delivery.ledger import BRANCH, Entry, Ledger
from pipelines.delivery.watch import Watch, told, watch
from pipelines.errors import Refused, UserError
from pipelines.problem.columns import CONTRACT
from tests.project import ROOT, commit, git

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


class World:
    """A host without processes, its checkout, the origin, a writer, and a stand-in of the rollout."""

    def __init__(self, folder: Path) -> None:
        git(folder, "init", "--quiet", "--bare", "origin.git")
        for name in ("checkout", "writer"):
            git(folder, "clone", "--quiet", str(folder / "origin.git"), name)
        self.origin, self.checkout, self.writer = (
            folder / name for name in ("origin.git", "checkout", "writer")
        )
        git(self.checkout, "remote", "set-url", "--push", "origin", "/nowhere")  # it may only read
        self.home = folder / "home"
        self.host = Host(
            "staging",
            self.home,
            self.home / "staging",
            self.home / "tools",
            "http://127.0.0.1:1",
            "http://127.0.0.1:1",
            {CONTRACT.name: {"blue": 1, "green": 1}},
            self.home / "socket",
            CONTRACT.name,
        )
        self.host.save()
        self.host.place.mkdir(parents=True)
        self.route: Route | None = None
        self.deployed: list[str] = []
        self.ends: dict[str, int | Exception] = {}

    def deploy(self, env: str, home: Path | None = None) -> int:
        with held(self.host.place, "the stand-in", "staging"):
            entry = ledger.wanted(env)
            assert entry
            self.deployed.append(entry.release)
            end = self.ends.get(entry.release, 0)
            if isinstance(end, Exception):
                raise end
            if end == 0:
                self.route = Route("blue", entry.release)
            return end

    def want(self, release: str, env: str = "staging") -> None:
        assert Ledger(self.writer).write(env, Entry(release=release, commit=release[:40], by="me"))

    def push(self, files: dict[str, str], force: bool = False) -> None:
        """A person's commit of these files on top of the branch; with `force` in its place."""
        folder = self.home / f"person-{time.time_ns()}"
        if force:
            folder.mkdir()
        else:
            git(self.home, "clone", "--quiet", "--branch", BRANCH, str(self.origin), str(folder))
        for name, content in files.items():
            (folder / name).write_text(content)
        commit(folder, "by hand")
        git(folder, "push", "--quiet", "--force", str(self.origin), f"HEAD:refs/heads/{BRANCH}")

    def watch(self) -> Watch:
        return Watch("staging", 30, self.home)


def file_of(release: str) -> str:
    return Entry(release=release, commit=release[:40], by="me").model_dump_json(indent=2)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.chdir(world.checkout)
    monkeypatch.setattr(rollout, "deploy", world.deploy)
    monkeypatch.setattr(hosts, "alive", lambda host: True)
    monkeypatch.setattr(Edge, "route", lambda edge: world.route)
    monkeypatch.setattr(watching, "AGAIN", 0.0)
    return world


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]


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
    journal = world.host.journal
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
        watch("staging", once=True, home=world.home)
    world.want(A)
    assert watch("staging", once=True, home=world.home) == 0
    world.want(B)
    world.ends[B] = 3
    assert watch("staging", once=True, home=world.home) == 3
    world.ends[B] = 4
    for _ in range(2):
        with pytest.raises(Refused, match="was refused"):
            watch("staging", once=True, home=world.home)
    assert world.deployed == [A, B, B]
    with pytest.raises(UserError, match="no host for nowhere"):
        watch("nowhere", once=True, home=world.home)


# --- what it survives -------------------------------------------------------------------------------------


def test_a_remote_out_of_reach_is_one_line_at_its_begin_and_one_at_its_end(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.want(A)
    watcher = world.watch()
    watcher.round()
    world.want(B)
    world.origin.rename(world.origin.with_name("away"))
    lines(capsys)
    for _ in range(4):
        watcher.round()
    (begin,) = lines(capsys)
    assert "the remote origin cannot be reached" in begin and begin.endswith("aaaaaaaaaaaa runs on blue")
    assert watcher.unreached == 4 and world.deployed == [A]
    world.origin.with_name("away").rename(world.origin)
    watcher.round()
    (end,) = lines(capsys)
    assert "over after" in end and watcher.unreached == 0 and world.deployed == [A, B]


def test_a_remote_that_hangs_is_out_of_reach(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    git(world.checkout, "config", "protocol.ext.allow", "always")
    git(world.checkout, "remote", "set-url", "origin", "ext::sleep 60")
    monkeypatch.setattr(ledger, "PATIENCE", 0.5)
    watcher = world.watch()
    watcher.round()
    assert watcher.unreached == 1 and watcher.seen.trouble
    assert "no answer within 0.5 s" in watcher.seen.trouble.why


def test_a_file_that_git_left_locked_is_one_sentence(world: World) -> None:
    world.want(A)
    locked = world.checkout / ".git" / f"{ledger.HERE}.lock"
    locked.parent.mkdir(parents=True)
    locked.touch()
    watcher = world.watch()
    watcher.round()
    assert (
        watcher.seen.trouble
        and "environments.lock was left by a git that was killed" in watcher.seen.trouble.why
    )
    locked.unlink()
    watcher.round()
    assert world.deployed == [A]


@pytest.mark.parametrize("broken", ["{", '{"release": "short"}', '["a list"]', ""])
def test_a_broken_entry_leaves_what_runs(
    world: World, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.want(A)
    watcher = world.watch()
    watcher.round()
    lines(capsys)
    world.push({"staging.json": broken})
    for _ in range(3):
        watcher.round()
    (begin,) = lines(capsys)
    assert "staging.json on the branch environments" in begin and "is broken" in begin
    world.push({"staging.json": file_of(B)})
    watcher.round()
    assert world.deployed == [A, B]


def test_another_environments_broken_entry_is_not_ours(world: World) -> None:
    world.want(A)
    world.push({"production.json": "{"})
    watcher = world.watch()
    watcher.round()
    assert world.deployed == [A] and watcher.seen.trouble is None


def test_a_deleted_branch_leaves_what_runs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.want(A)
    watcher = world.watch()
    watcher.round()
    git(world.writer, "push", "--quiet", "origin", "--delete", BRANCH)
    for _ in range(3):
        watcher.round()
    assert world.deployed == [A]
    assert sum("the ledger names no release for staging" in line for line in lines(capsys)) == 1


def test_a_rewritten_branch_leaves_what_runs_until_the_entry_is_written_on_top_of_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.want(A)
    watcher = world.watch()
    watcher.round()
    lines(capsys)
    world.push({"staging.json": file_of(B)}, force=True)
    for _ in range(2):
        watcher.round()
    world.push({"production.json": file_of(A)})  # says nothing of staging
    watcher.round()
    watcher = world.watch()
    watcher.round()
    said = [line for line in lines(capsys) if "was rewritten" in line]
    assert world.deployed == [A] and len(said) == 2  # one a start
    world.want(C)
    watcher.round()
    assert world.deployed == [A, C] and watcher.seen.rewritten is None


def test_a_branch_that_was_set_back_does_not_bring_an_old_release(world: World) -> None:
    world.want(A)
    watcher = world.watch()
    watcher.round()
    old = git(world.origin, "rev-parse", BRANCH)
    world.want(B)
    watcher.round()
    git(world.origin, "update-ref", f"refs/heads/{BRANCH}", old)
    watcher.round()
    assert world.deployed == [A, B] and watcher.seen.trouble
    assert "was rewritten" in watcher.seen.trouble.why


def test_a_rewritten_branch_is_taken_once_a_person_deployed_what_it_names(world: World) -> None:
    world.want(A)
    watcher = world.watch()
    watcher.round()
    world.push({"staging.json": file_of(B)}, force=True)
    watcher.round()
    assert world.deployed == [A]
    world.deploy("staging")
    watcher.round()
    assert watcher.seen.trouble is None
    world.want(C)
    watcher.round()
    assert world.deployed == [A, B, C]


def test_bugs_in_a_row_end_it_and_one_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "pause", lambda every, unreached: 0.0)
    world.want(A)
    world.ends[A] = ZeroDivisionError("the test's")
    watcher = world.watch()
    for _ in range(watching.BUGS - 1):
        watcher.round()
    world.ends[A] = 0
    watcher.round()
    assert watcher.bugs == 0 and world.route
    said = capsys.readouterr().err
    assert said.count("Traceback") == watching.BUGS - 1 and said.count("a bug, ZeroDivisionError") == 2

    world.want(B)
    world.ends[B] = ZeroDivisionError("the test's")
    assert watch("staging", 30, home=world.home) == 1
    assert world.deployed.count(B) == watching.BUGS


def test_a_full_disk_does_not_end_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watching, "write_text", full)
    world.want(A)
    world.ends[A] = OSError(28, "No space left on device")
    watcher = world.watch()
    watcher.round()
    assert watcher.seen.trouble and "No space left" in watcher.seen.trouble.why and watcher.bugs == 0


def test_an_unreadable_journal_is_named_and_nothing_moves(world: World) -> None:
    world.want(A)
    world.host.journal.path.write_text("{\n{}\n")
    watcher = world.watch()
    watcher.round()
    assert world.deployed == [] and watcher.seen.trouble
    assert "journal.jsonl is damaged" in watcher.seen.trouble.why


def test_a_dead_host_is_brought_up_before_the_ledger_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ups: list[str] = []
    monkeypatch.setattr(hosts, "alive", lambda host: bool(ups))
    monkeypatch.setattr(terraform, "up", lambda env, home: ups.append(env))
    world.origin.rename(world.origin.with_name("away"))
    watcher = world.watch()
    for _ in range(2):
        watcher.round()
    assert ups == ["staging"] and watcher.unreached == 2


def test_an_edge_that_its_supervisor_brings_back_is_left_to_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter([False, True])
    monkeypatch.setattr(hosts, "alive", lambda host: next(states))
    monkeypatch.setattr(terraform, "up", lambda env, home: pytest.fail("the edge was back by itself"))
    world.want(A)
    watcher = world.watch()
    watcher.round()
    assert watcher.seen.trouble is None


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
    assert watch("staging", every=100_000, home=world.home) == 0
    thread.join()
    assert world.deployed == [A] and signal.getsignal(signal.SIGTERM) == before


# --- what status shows ------------------------------------------------------------------------------------


def test_status_has_a_line_of_the_watch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(world.host) == ""
    world.want(A)
    world.ends[B] = 4
    monkeypatch.setattr(watching, "pause", lambda every, unreached: 0.0)
    during: list[str] = []

    def deploy(env: str, home: Path | None = None) -> int:
        during.append(told(world.host))
        return world.deploy(env, home)

    monkeypatch.setattr(rollout, "deploy", deploy)
    watch("staging", once=True, home=world.home)
    head = git(world.origin, "rev-parse", BRANCH)
    assert during[0].startswith("deploys aaaaaaaaaaaa since")
    assert told(world.host) == f"looked 0 s ago, ledger {head[:12]}"
    world.want(B)
    watcher = world.watch()
    watcher.round()
    watcher._save(again=watcher.seen.looked)
    assert "bbbbbbbbbbbb was refused" in told(world.host)
    monkeypatch.setattr(watching, "LATE", -1.0)
    assert "should have again: is `ml watch` running?" in told(world.host)


def test_a_broken_watch_json_is_begun_anew(world: World) -> None:
    (world.host.place / "watch.json").write_text("{")
    assert told(world.host) == ""
    world.want(A)
    world.watch().round()
    assert world.deployed == [A] and told(world.host)


# --- the unit ---------------------------------------------------------------------------------------------


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here: apt-get install systemd")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    return subprocess.run(command, capture_output=True, text=True)


def test_systemd_takes_the_unit_and_would_refuse_a_broken_one(tmp_path: Path, world: World) -> None:
    text = watching.unit()
    assert "@CHECKOUT@" not in text and "@HOME@" not in text and "@USER@" not in text
    unit = tmp_path / "greenlight-watch@staging.service"
    unit.write_text(text)
    # An environment made elsewhere has its `ml` elsewhere too: what is judged is the unit.
    unit.write_text(text.replace(f"{ROOT}/.venv/bin/ml", shutil.which("true") or "/bin/true"))
    done = verify(unit)
    assert done.returncode == 0 and str(unit) not in done.stderr, done.stderr
    unit.write_text(text.replace("KillMode=process", "KillMode=nobody").replace(".venv/bin/ml", "no/such"))
    done = verify(unit)
    assert done.returncode != 0 or "KillMode" in done.stderr


def test_the_unit_leaves_what_a_deploy_started_running_and_its_socket_in_sight(world: World) -> None:
    settings = dict(
        line.split("=", 1) for line in watching.unit().splitlines() if "=" in line and line[0] != "#"
    )
    assert settings["KillMode"] == "process" and settings["Restart"] == "always"
    assert settings["NoNewPrivileges"] == "yes" and settings["ProtectSystem"] == "full"
    assert not {"PrivateTmp", "PrivateUsers", "ProtectHome"} & set(settings)


def test_a_path_that_systemd_would_misread_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIGHT_HOME", "/srv/100%")
    with pytest.raises(UserError, match="a systemd unit cannot name"):
        watching.unit()


# --- the real thing ---------------------------------------------------------------------------------------


@pytest.fixture
def followed(tmp_path: Path, host: Host, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`ml watch` in a checkout that may only read, following an origin beside it."""
    world = tmp_path
    git(world, "init", "--quiet", "--bare", "origin.git")
    git(world, "clone", "--quiet", str(world / "origin.git"), "checkout")
    git(world, "clone", "--quiet", str(world / "origin.git"), "writer")
    shutil.copyfile(ROOT / "params.yaml", world / "checkout" / "params.yaml")
    with (world / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "watch", "--env", "staging", "--every", "1"],
            cwd=world / "checkout",
            env={**os.environ, "PYTHONPATH": str(ROOT), "GREENLIGHT_HOME": str(home)},
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
    followed: Path, host: Host, make: Callable[..., str]
) -> None:
    def until(true: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not true():
            assert time.monotonic() < end, (followed / "log").read_text()
            time.sleep(0.2)

    def live(release: str) -> bool:
        route = host.edge.route()
        return hosts.alive(host) and route == Route(route.slot, release) if route else False

    writer = Ledger(followed / "writer")
    first, second = make("first"), make("second")
    writer.write("staging", Entry(release=first, commit=first[:40], by="me"))
    until(lambda: live(first))

    (followed / "origin.git").rename(followed / "away")
    until(lambda: "cannot be reached" in (followed / "log").read_text())
    hosts.stop(host)  # as a reboot does
    until(lambda: live(first) and host.edge.healthy(host.edge.route().slot))  # type: ignore[union-attr]

    (followed / "away").rename(followed / "origin.git")
    writer.write("staging", Entry(release=second, commit=second[:40], by="me"))
    until(lambda: live(second))
    seen = json.loads((host.place / "watch.json").read_text())
    assert seen["head"] == git(followed / "origin.git", "rev-parse", BRANCH)
