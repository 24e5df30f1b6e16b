"""What `ml` says and how it exits."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pipelines import cli
from pipelines.base.errors import Refused, UserError


def ml(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize(("error", "code"), [(UserError("the way out"), 2), (Refused("the reason"), 4)])
def test_a_mistake_exits_with_2_and_a_refusal_with_4(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == code
    assert capsys.readouterr().err == f"ml: {error}\n"


def test_a_bug_is_not_mistaken_for_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1


def test_outside_the_repository_one_sentence_says_where_to_go(tmp_path: Path) -> None:
    done = ml("stage", "train", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "ml: params.yaml does not exist: run `ml` at the top of the repository\n"


def test_an_unknown_verb_exits_with_2() -> None:
    assert ml("trian").returncode == 2


def verbs() -> list[list[str]]:
    group = typer.main.get_command(cli.app)
    found = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        found += [[name, sub] for sub in getattr(command, "commands", {})] or [[name]]
    return found


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_verb_and_every_option_explains_itself(verb: list[str]) -> None:
    command = typer.main.get_command(cli.app)
    for name in verb:
        command = command.commands[name]  # type: ignore[attr-defined]
    assert command.help
    assert not [
        option.name for option in command.params if option.name != "help" and not getattr(option, "help", "")
    ]
