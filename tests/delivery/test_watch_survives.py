"""Whatever becomes of the ledger, the remote or the disk, what runs stays, and a line says so."""

from pathlib import Path

import pytest

from pipelines.base import git as base_git
from pipelines.host import services, terraform
from pipelines.registry import ledger
from pipelines.registry.ledger import BRANCH
from pipelines.rollout import watch as watching
from pipelines.rollout.journal import Journal
from pipelines.rollout.watch import watch
from tests.delivery import tiny
from tests.delivery.world import A, B, C, World, file_of, lines
from tests.project import git


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
    monkeypatch.setattr(base_git, "PATIENCE_SECONDS", 0.5)
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
    assert "staging.json on the branch environments" in begin and "is not what `ml` writes" in begin
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
    world.deploy("staging", tiny.CONTRACT)
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
    assert watch("staging", tiny.CONTRACT, 30, home=world.home) == 1
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
    Journal(world.host.place).path.write_text("{\n{}\n")
    watcher = world.watch()
    watcher.round()
    assert world.deployed == [] and watcher.seen.trouble
    assert "journal.jsonl is damaged" in watcher.seen.trouble.why


def test_a_dead_host_is_brought_up_before_the_ledger_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ups: list[str] = []
    monkeypatch.setattr(services, "alive", lambda host: bool(ups))
    monkeypatch.setattr(terraform, "up", lambda env, model, home: ups.append(env))
    world.origin.rename(world.origin.with_name("away"))
    watcher = world.watch()
    for _ in range(2):
        watcher.round()
    assert ups == ["staging"] and watcher.unreached == 2


def test_an_edge_that_its_supervisor_brings_back_is_left_to_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter([False, True])
    monkeypatch.setattr(services, "alive", lambda host: next(states))
    monkeypatch.setattr(terraform, "up", lambda env, model, home: pytest.fail("the edge was back by itself"))
    world.want(A)
    watcher = world.watch()
    watcher.round()
    assert watcher.seen.trouble is None
