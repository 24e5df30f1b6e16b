"""`ml abort` ends the rollout that is under way and nothing else, and no watch goes on with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipelines.base.errors import UserError
from pipelines.base.locks import held
from pipelines.rollout.abort import abort
from pipelines.rollout.deploy import DEPLOY
from pipelines.rollout.journal import Journal
from tests import project
from tests.delivery import tiny
from tests.delivery.world import A, B, World

MOVE = {"release": A, "slot": "green", "from": {"slot": "blue", "release": B}, "why": "release"}
DEPLOYER = """
import sys, time
from contextlib import nullcontext
from pathlib import Path
from pipelines.base.locks import held
from pipelines.base.signals import Interrupted, finishing, interruptible
from pipelines.rollout.journal import Journal

place, what, stubborn = Path(sys.argv[1]), sys.argv[2], len(sys.argv) > 3
with held(place, what, "staging"), interruptible():
    try:
        with finishing() if stubborn else nullcontext():
            print("ready", flush=True)
            time.sleep(60)
    except Interrupted as signal:
        Journal(place).write("1", "interrupted", step="CANARY", by=str(signal))
        sys.exit(signal.exit_code)
"""


@contextmanager
def deployer(world: World, *more: str, what: str = f"{DEPLOY} {A[:12]}") -> Iterator[subprocess.Popen[str]]:
    """A process that holds the environment as a rollout does, and undoes its step when it is interrupted."""
    command = [sys.executable, "-c", DEPLOYER, str(world.host.place), what, *more]
    environment = {**os.environ, "PYTHONPATH": str(project.code())}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def half_way(world: World, *steps: str) -> Journal:
    journal = Journal(world.host.place)
    journal.write("1", "begin", **MOVE)
    for step in steps:
        journal.write("1", "intent", step=step)
    return journal


def test_it_interrupts_the_deploy_and_no_watch_goes_on_with_its_move(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.want(A)
    journal = half_way(world, "PREPARE", "CANARY")
    with deployer(world) as process:
        abort("staging", tiny.CONTRACT.name, world.home)
        assert process.wait(10) == 128 + signal.SIGINT
    assert [event["event"] for event in journal.moves()[-1].events[-2:]] == ["interrupted", "pause"]
    said = capsys.readouterr().out
    assert f"the move to {A[:12]} is left half-way" in said
    assert "`ml deploy --env staging` finishes it, `ml rollback --env staging` undoes it; nothing has" in said
    watcher = world.watch()
    watcher.round()
    assert world.deployed == [] and watcher.seen.trouble
    assert "a person paused the rollout (pause at CANARY: `ml abort`)" in watcher.seen.trouble.why
    world.want(B)
    world.watch().round()
    assert world.deployed == [B]  # another wish of the ledger is followed


def test_without_it_a_watch_goes_on_with_a_move_that_was_interrupted(world: World) -> None:
    world.want(A)
    half_way(world, "CANARY").write("1", "interrupted", step="CANARY", by="SIGINT")
    world.watch().round()
    assert world.deployed == [A]


@pytest.mark.parametrize("steps", [(), ("PREPARE", "SHADOW")])
def test_of_what_a_killed_deploy_left_it_says_what_finishes_and_what_undoes_it(
    world: World, steps: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    journal = half_way(world, *steps)
    for _ in range(2):
        abort("staging", tiny.CONTRACT.name, world.home)
    (last,) = journal.moves()
    assert last.waits == f"pause at {(steps or ('PREPARE',))[-1]}: `ml abort`"
    assert [event["event"] for event in last.events].count("pause") == 1
    assert capsys.readouterr().out.count("`ml deploy --env staging` finishes it") == 2


def test_where_nothing_is_under_way_it_says_so_and_writes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    abort("staging", tiny.CONTRACT.name, world.home)
    half_way(world).write("1", "end", result="completed")
    before = Journal(world.host.place).path.read_bytes()
    abort("staging", tiny.CONTRACT.name, world.home)
    assert capsys.readouterr().out == 2 * "staging: no rollout is under way; nothing has traffic\n"
    assert Journal(world.host.place).path.read_bytes() == before


def test_a_rollout_that_turns_back_is_not_stopped_at_that(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.want(A)
    journal = half_way(world, "FLIP")
    journal.write("1", "turn-back", reason="it answers wrong")
    with deployer(world) as process:
        abort("staging", tiny.CONTRACT.name, world.home)
        assert process.poll() is None
    assert "is turned back already (it answers wrong)" in capsys.readouterr().out
    assert journal.moves()[-1].events[-1]["event"] == "turn-back"
    world.watch().round()
    assert world.deployed == [A]  # which turns it back to the end


def test_what_is_no_rollout_gets_no_signal(world: World) -> None:
    with deployer(world, what="`ml infra up --env staging`") as process:
        with pytest.raises(
            UserError, match=r"held by `ml infra up --env staging` .*, which is not a rollout"
        ):
            abort("staging", tiny.CONTRACT.name, world.home)
        assert process.poll() is None


def test_a_process_whose_number_the_lock_has_by_chance_gets_no_signal(world: World) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        with held(world.host.place, "x", "staging"):
            text = f"{DEPLOY} {A[:12]} (process {stranger.pid}, since 2026-01-01)"
            (world.host.place / "lock").write_text(text)
            with pytest.raises(UserError, match="is not a rollout"):
                abort("staging", tiny.CONTRACT.name, world.home)
        assert stranger.poll() is None
        stranger.kill()


def test_a_deploy_that_does_not_end_is_named_with_the_way_out(world: World) -> None:
    with deployer(world, "stubborn") as process:
        with pytest.raises(UserError, match=rf"has not ended within 0\.2 s: `kill -9 {process.pid}`"):
            abort("staging", tiny.CONTRACT.name, world.home, within=0.2)
        assert process.poll() is None
    assert Journal(world.host.place).moves() == []
