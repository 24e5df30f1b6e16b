"""What `ml init` finds out by itself, what it asks, and how it is called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.base import programs
from pipelines.setup import asked, environments, repository, tree, where
from pipelines.setup.wanted import Wanted
from tests.project import ROOT
from tests.setup.conftest import ADMIN, REPOSITORY, Copy, fresh, lines, mistake, role
from tests.workflows.conftest import git

PEOPLES = "https://api.github.com"


@pytest.mark.parametrize(
    ("address", "host", "name", "api"),
    [
        ("https://github.com/ada/flights.git", "github.com", "ada/flights", PEOPLES),
        ("https://x-access-token:y@github.com/ada/flights", "github.com", "ada/flights", PEOPLES),
        ("git@github.com:ada/flights.git", "github.com", "ada/flights", PEOPLES),
        ("ssh://git@ssh.github.com:443/ada/flights.git", "github.com", "ada/flights", PEOPLES),
        (
            "git@git.firm.example:ada/flights",
            "git.firm.example",
            "ada/flights",
            "https://git.firm.example/api/v3",
        ),
        (
            "https://git.firm.example:8443/a/b.c/",
            "git.firm.example:8443",
            "a/b.c",
            "https://git.firm.example:8443/api/v3",
        ),
        ("https://firm.ghe.com/ada/flights", "firm.ghe.com", "ada/flights", "https://api.firm.ghe.com"),
    ],
)
def test_the_repository_and_its_api_follow_from_the_remote(
    address: str, host: str, name: str, api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("GITHUB_REPOSITORY", "GITHUB_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", address)
    assert where.found(tmp_path) == where.Where(host, name, api)
    monkeypatch.setenv("GITHUB_API_URL", "https://else.example/api/v3/")
    monkeypatch.setenv("GITHUB_REPOSITORY", "grace/other")
    assert where.found(tmp_path) == where.Where(host, "grace/other", "https://else.example/api/v3")


@pytest.mark.parametrize("address", ["", "/srv/git/flights.git", "https://git.firm.example/deep/er/flights"])
def test_a_remote_that_is_no_repository_of_githubs_is_told(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    git(tmp_path, "init", "--quiet")
    if address:
        git(tmp_path, "remote", "add", "origin", address)
    assert "give --repository OWNER/NAME" in mistake(lambda: where.found(tmp_path))


def test_the_token_is_a_variables_else_that_of_githubs_own_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(
        programs, "find", lambda name: str(tmp_path / name) if (tmp_path / name).exists() else None
    )
    for variable in ("GITHUB_TOKEN", "GH_TOKEN", "GH_ENTERPRISE_TOKEN", "GITHUB_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    assert "run `gh auth login`" in mistake(lambda: where.token("github.com"))
    elsewhere = mistake(lambda: where.token("gitlab.com"))
    assert (
        "`gh auth login --hostname gitlab.com`" in elsewhere
        and "let the remote origin be on GitHub" in elsewhere
    )
    program = tmp_path / "gh"
    program.write_text('#!/bin/sh\n[ "$*" = "auth token --hostname git.firm.example" ] && echo of-gh\n')
    program.chmod(0o755)
    assert where.token("git.firm.example") == "of-gh"
    assert "run `gh auth login`" in mistake(lambda: where.token("github.com")), "not logged in there"
    monkeypatch.setenv("GITHUB_TOKEN", "of-the-variable")
    assert where.token("github.com") == where.token("firm.ghe.com") == "of-the-variable"
    assert where.token("git.firm.example") == "of-gh", "a token of github.com is not for whom a remote names"
    monkeypatch.setenv("GH_ENTERPRISE_TOKEN", "of-the-server")
    assert where.token("git.firm.example") == "of-the-server"
    monkeypatch.setenv("GITHUB_API_URL", "https://git.firm.example/api/v3")
    assert where.token("git.firm.example") == "of-the-variable"


# --- questions --------------------------------------------------------------------------------------------


def test_at_a_terminal_it_asks_for_what_no_flag_says(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[tuple[str, str]] = []

    def answer(question: str, proposed: str) -> str:
        questions.append((question, proposed))
        return "@ada, @grace" if "production" in question else proposed

    monkeypatch.setattr(asked, "prompt", answer)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    got = asked.completed(copy.hub(), Wanted(), copy.checkout, yes=False)
    assert (got.owners, got.reviewers) == (("@ada",), ("@ada", "@grace"))
    assert dict(got.variables) == {"GREENLIGHT_STORE": "", "GREENLIGHT_RUNNER": ""}
    assert len(questions) == 4
    questions.clear()
    given = Wanted(("@grace",), ("@grace",), variables=dict.fromkeys(asked.QUESTIONS, "x"))
    assert asked.completed(copy.hub(), given, copy.checkout, yes=False) == given and questions == []


def test_elsewhere_it_asks_nothing_and_who_runs_it_owns_the_code(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "prompt", lambda *words: pytest.fail("a question"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert asked.completed(copy.hub(), Wanted(), copy.checkout, yes=True) == Wanted(owners=("@ada",))
    (copy.checkout / tree.OWNERS).write_text("* @grace\n")
    assert asked.completed(copy.hub(), Wanted(), copy.checkout, yes=True) == Wanted()


def test_the_verb_sets_up_and_ends_with_0(copy: Copy) -> None:
    environment = programs.environment(PYTHONPATH=str(ROOT), GITHUB_API_URL=copy.api, GITHUB_TOKEN=ADMIN)

    def ml(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines.cli", "init", "--repository", REPOSITORY, *arguments]
        return subprocess.run(command, cwd=copy.checkout, env=environment, capture_output=True, text=True)

    assert ml("--plan").returncode == 0 and copy.writes == []
    done = ml("--reviewers", "@grace", "--store", "github", "--runner", "greenlight-host", "--pull")
    assert done.returncode == 0, done.stderr
    assert "Commit .github/CODEOWNERS, .github/allowed_signers" in done.stdout
    values = {name: one["value"] for name, one in copy.state["variables"].items()}
    assert values == {
        "GREENLIGHT_STORE": "github",
        "GREENLIGHT_RUNNER": "greenlight-host",
        "GREENLIGHT_PULL": "true",
    }
    assert ml("--store", "folder", "--no-pull").returncode == 0
    assert set(copy.state["variables"]) == {"GREENLIGHT_RUNNER"}
    done = ml("--var", "GREENLIGHT_BASE=x")
    assert done.returncode == 2 and "no workflow asks the variable GREENLIGHT_BASE" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--owners", "ada"), "'ada' is not @NAME or @ORGANIZATION/TEAM"),
        (("--reviewers", "@ada grace"), "'grace' is not @NAME or @ORGANIZATION/TEAM"),
        (("--store", "s3"), "--store 's3' is none: say github, github:OWNER/REPO, folder"),
        (("--var", "GREENLIGHT_STORE"), "'GREENLIGHT_STORE' is not NAME=VALUE"),
    ],
)
def test_a_mistake_in_a_flag_is_told_before_a_token_is_asked_for(
    arguments: tuple[str, ...], said: str, copy: Copy
) -> None:
    done = ml_of(copy.checkout, "init", *arguments)
    assert done.returncode == 2 and done.stderr.startswith(f"ml: {said}") and done.stdout == ""
    assert copy.writes == []


@pytest.mark.parametrize("verb", ["init", "doctor", "page"])
def test_elsewhere_than_at_the_top_of_a_clone_a_verb_says_where_to_run_it(
    verb: str, copy: Copy, tmp_path: Path
) -> None:
    done = ml_of(copy.checkout / ".github", verb)
    assert done.returncode == 2 and f"run this at its top, {copy.checkout.resolve()}" in done.stderr
    (tmp_path / "empty").mkdir()
    done = ml_of(tmp_path / "empty", verb)
    assert done.returncode == 2 and "is not a Git repository: run this in a clone" in done.stderr
    assert done.stdout == "" and list((tmp_path / "empty").iterdir()) == []


def ml_of(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`ml`, without a token."""
    told = dict.fromkeys(("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_API_URL", "GITHUB_REPOSITORY"), "")
    environment = programs.environment(PYTHONPATH=str(ROOT), **told)
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("store", ["github", "github:ada/flights", "folder", "/srv/releases"])
def test_a_store_is_one_that_there_is(store: str) -> None:
    assert asked.kept(store) == store


@pytest.mark.parametrize("store", ["s3", "s3://bucket", "github:ada", "@grace", "gitub"])
def test_a_store_that_would_be_a_folder_by_mistake_is_told(store: str) -> None:
    assert "say github," in mistake(lambda: asked.kept(store))


def test_an_address_of_the_api_that_is_none_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "api.firm.example")
    assert "GITHUB_API_URL is 'api.firm.example'" in mistake(lambda: where.found(name="a/b"))


# --- files ------------------------------------------------------------------------------------------------


def test_the_workflows_of_a_copy_start_on_its_default_branch(tmp_path: Path) -> None:
    with fresh(tmp_path, branch="trunk") as copy:
        workflows = copy.checkout / tree.WORKFLOWS
        before = {file.name: file.read_text() for file in workflows.glob("*.yml")}
        assert copy.init() == 0
        changed = {name for name, text in before.items() if (workflows / name).read_text() != text}
        assert {"ci.yml", "release.yml"} <= changed
        for name in before:
            text = (workflows / name).read_text()
            on = yaml.safe_load(text).get(True) or {}
            branches = ((on.get("push") if isinstance(on, dict) else None) or {}).get("branches")
            assert branches in (None, ["trunk"])
            assert text.replace("[trunk]", "[main]") == before[name], "more than the branch"
        policies = [one["policies"] for one in copy.state["environments"].values()]
        assert {policy["name"] for those in policies for policy in those} == {"trunk"}
        copy.push()
        copy.writes.clear()
        assert copy.init() == 0 and copy.writes == []


def test_another_default_branch_is_made_the_default_and_written_everywhere(copy: Copy) -> None:
    git(copy.checkout, "push", "--quiet", "origin", "main:refs/heads/trunk")
    assert copy.init(branch="trunk") == 0
    assert git(copy.origin, "symbolic-ref", "--short", "HEAD") == "trunk"
    assert "branches: [trunk]" in (copy.checkout / ".github/workflows/ci.yml").read_text()
    copy.writes.clear()
    assert copy.init() == 0 and copy.writes == []


def test_the_models_name_is_written_where_the_room_has_it(
    copy: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert copy.init(model="rain-soon") == 0
    text = (copy.checkout / tree.COLUMNS).read_text()
    assert text == 'CONTRACT = Contract(\n    name="rain-soon",  # ü\n    event="a flight",\n)\n'
    assert "then `ml reproduce`" in lines(capsys.readouterr().out)["model's name"]
    assert "is not small letters" in mistake(lambda: copy.init(model="Rain soon"))
    (copy.checkout / tree.COLUMNS).write_text("NAME = 'x'\nCONTRACT = Contract(name=NAME)\n")
    copy.init(model="other")
    assert (
        "does not say it as a plain text: write it there, by hand: other"
        in lines(capsys.readouterr().out)["model's name"]
    )


def test_code_owners_are_replaced_on_each_line_and_comments_stay(copy: Copy) -> None:
    role(copy, "ada", "admin")
    file = copy.checkout / tree.OWNERS
    copy.init(owners=("@ada", "@grace"))
    assert file.read_text() == "* @ada @grace\n/docs/\n/docs/**/*.py  @ada @grace\n"
    copy.init(owners=("@grace",))
    assert file.read_text() == "* @grace\n/docs/\n/docs/**/*.py  @grace\n"
    file.write_text("/docs/\n")
    assert "has no line `*`" in mistake(copy.init)


def test_what_the_workflow_files_name_is_found_not_listed() -> None:
    assert {"staging", "production"} <= set(environments.named(ROOT))
    assert not {"plan", "apply", "nightly", "github-pages"} & set(environments.named(ROOT))
    assert {"GREENLIGHT_STORE", "GREENLIGHT_RUNNER", "GREENLIGHT_PULL"} <= repository.named(ROOT)


def test_an_environment_whose_jobs_are_given_the_ledgers_key_is_set_up_too(copy: Copy) -> None:
    job = {"environment": {"name": "canary"}, "steps": [{"run": "${{ secrets.GREENLIGHT_LEDGER_KEY }}"}]}
    other = {"environment": "elsewhere", "steps": [{"run": "true"}]}
    text = yaml.safe_dump({"on": "push", "jobs": {"a": job, "b": other}})
    (copy.checkout / ".github/workflows/canary.yml").write_text(text)
    assert copy.init() == 0
    found = copy.state["environments"]
    assert set(found) == {"staging", "production", "canary"} and set(found["canary"]["secrets"]) == {
        "GREENLIGHT_LEDGER_KEY"
    }
