"""`ml logs`: what slots, edge and supervisor wrote, and what they write from then on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.host.logs import Log, show
from tests import project
from tests.delivery import tiny
from tests.delivery.world import World


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GREENLIGHT_HOME", str(world.home))
    return world


def written(world: World) -> dict[str, Path]:
    host = world.host
    logs = {
        "supervisor": host.folder / "supervisor" / "supervisord.log",
        "edge": host.folder / "edge" / "envoy.log",
        "blue": host.slot("blue").log,
    }
    for name, path in logs.items():
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{name} {n}\n" for n in range(5)))
    return logs


def test_the_last_lines_of_each_log_come_after_its_name(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    written(world)
    show("staging", tiny.CONTRACT.name, lines=2)
    names = ("supervisor", "edge", "blue")  # green never ran
    lines = [f"{name:10} | {name} {n}" for name in names for n in (3, 4)]
    assert capsys.readouterr().out.splitlines() == lines


def test_one_slot_s_log_stands_alone_and_has_what_was_set_aside(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    written(world)["blue"].with_name("log.1").write_text("before\n")
    show("staging", tiny.CONTRACT.name, slot="blue", lines=6)
    assert capsys.readouterr().out.splitlines() == ["before", *(f"blue {n}" for n in range(5))]
    show("staging", tiny.CONTRACT.name, slot="blue", lines=0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("slot", ["green", None])
def test_a_log_that_is_not_there_is_one_sentence(world: World, slot: str | None) -> None:
    if slot:
        written(world)
    with pytest.raises(UserError, match="no log yet: `ml deploy --env staging` starts a slot"):
        show("staging", tiny.CONTRACT.name, slot=slot)


def test_a_log_is_followed_through_a_cut_line_a_trim_and_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log("blue", path)
    assert log.new() == []
    path.write_text("one\ntw")
    assert log.new() == ["one"] and log.new() == []
    with path.open("a") as file:
        file.write("o\nthree\n")
    assert log.new() == ["two", "three"]
    path.write_text("")  # as the host empties it under its writer
    with path.open("a") as file:
        file.write("four\n")
    assert log.new() == ["four"]
    path.rename(tmp_path / "old")
    path.write_text("five, of the next release\n")
    assert log.new() == ["five, of the next release"]


def test_followed_by_the_verb_it_goes_on_until_ctrl_c(world: World) -> None:
    path = written(world)["blue"]
    command = [sys.executable, "-m", "pipelines.cli", "logs", "--env", "staging", "-f", "--lines", "1"]
    environment = {"PYTHONPATH": str(project.code()), "GREENLIGHT_HOME": str(world.home)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            assert [process.stdout.readline().split()[-1] for _ in range(3)] == ["4"] * 3
            with path.open("a") as file:
                file.write("and on\n")
            assert process.stdout.readline() == "blue       | and on\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()
