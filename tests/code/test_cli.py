"""What `ml` says and how it exits."""

import shlex
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import typer
from typer._click.exceptions import UsageError

from pipelines import cli
from pipelines.base.errors import Refused, UserError
from tests.project import ROOT


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


def command_of(verb: list[str]) -> Any:
    command = typer.main.get_command(cli.app)
    for name in verb:
        command = command.commands[name]  # type: ignore[attr-defined]
    return command


def parse(example: str) -> None:
    """Hold a call of `ml` against the options of its verb."""
    ml, *words = shlex.split(example, comments=True)
    assert ml == "ml"
    (verb,) = [verb for verb in verbs() if words[: len(verb)] == verb]
    command_of(verb).make_context(" ".join(verb), words[len(verb) :])


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_verb_and_every_option_explains_itself(verb: list[str]) -> None:
    command = command_of(verb)
    assert command.help
    assert not [
        option.name for option in command.params if option.name != "help" and not getattr(option, "help", "")
    ]


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_the_help_of_every_verb_has_an_example_that_can_be_typed(verb: list[str]) -> None:
    examples = (command_of(verb).epilog or "").splitlines()
    assert 1 <= len(examples) <= 2
    for example in examples:
        assert example.startswith(f"ml {' '.join(verb)}")
        parse(example)


@pytest.mark.parametrize(
    "example", ["ml deploy --evn staging", "ml deploy", "ml deploy --env test", "ml store prune --keep many"]
)
def test_an_example_that_cannot_be_typed_is_found(example: str) -> None:
    with pytest.raises(UsageError):
        parse(example)


def test_a_help_shows_its_example_at_the_end() -> None:
    assert ml("store", "prune", "--help").stdout.endswith(
        "\nExample:\n  ml store prune --keep 10 --dry-run\n"
    )


def test_env_is_the_same_for_every_verb_and_never_guessed() -> None:
    found = {" ".join(verb): command_of(verb).params[0] for verb in verbs() if "env" in names(verb)}
    assert {"deploy", "drift", "logs", "infra up", "ci replay"} <= found.keys()
    (same,) = {(tuple(first.opts), first.required, first.help) for first in found.values()}
    assert same == (("--env",), True, "The environment.")
    for verb in found:
        with pytest.raises(UsageError, match="'test' is not one of 'staging', 'production'"):
            parse(f"ml {verb} --env test")


def names(verb: list[str]) -> list[str]:
    return [option.name for option in command_of(verb).params]


def test_the_list_of_verbs_needs_no_package_but_typer_and_its_own() -> None:
    script = "import sys; sys.argv[1:] = ['--help']; from pipelines import cli\ntry: cli.main()\n"
    script += "finally: print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    light = {"pipelines", "typer", "annotated_doc", "shellingham", "typing_extensions"}
    heavy = {name for name in packages_distributions() if not name.startswith("_")} - light
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "typer" in loaded and not loaded & heavy
    assert {"rich", "pydantic", "yaml", "numpy"} <= heavy
