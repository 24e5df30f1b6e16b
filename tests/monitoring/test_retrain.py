"""A drift check that asks for a new model opens a proposal, once, and touches nothing else."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import write_text
from pipelines.base.github import GitHub
from pipelines.core import params
from pipelines.local import github, pushes
from pipelines.monitoring import retrain
from pipelines.monitoring.retrain import move_on, propose
from tests.monitoring.checks import check
from tests.problems.parcels import PARAMS_FILE

REPOSITORY = Path(__file__).parents[2]
BRANCH = "retrain/2013-10"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    write_text(tmp_path / "drift/drift.md", "## Drift check: RETRAIN\n")
    return check("RETRAIN").write(tmp_path / "drift").parent


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a small repository with a bare origin; the working directory."""
    origin, checkout = tmp_path / "origin.git", tmp_path / "checkout"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(origin)], check=True)
    subprocess.run(["git", "clone", "--quiet", str(origin), str(checkout)], check=True, capture_output=True)
    write_text(checkout / "params.yaml", PARAMS_FILE.read_text())
    for name in ("data.dvc", "dvc.lock"):
        write_text(checkout / name, "old\n")
    git(checkout, "checkout", "--quiet", "-B", "main")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "first")
    git(checkout, "push", "--quiet", "origin", "main")
    monkeypatch.chdir(checkout)
    for name in ("GITHUB_TOKEN", "GITHUB_REPOSITORY", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return checkout


@pytest.fixture
def api(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "github").mkdir()
    with github.serve(tmp_path / "github", tmp_path / "origin.git") as url:
        monkeypatch.setenv("GITHUB_API_URL", url)
        monkeypatch.setenv("GITHUB_TOKEN", "local-token")
        monkeypatch.setenv("GITHUB_REPOSITORY", "you/greenlight")
        yield f"{url}/repos/you/greenlight"


def build(clone: Path, through: str) -> None:
    """In place of ingest and training, which take a minute."""
    write_text(clone / "data.dvc", f"through {through}\n")
    write_text(clone / "dvc.lock", f"through {through}\n")


def pulls(api: str) -> list[dict[str, Any]]:
    return list(github.call(f"{api}/pulls?state=open"))


def test_the_proposal_moves_the_months_on_and_carries_the_report(
    evidence: Path, checkout: Path, api: str
) -> None:
    propose(evidence, build=build)
    (pull,) = pulls(api)
    assert pull["head"]["ref"] == BRANCH and pull["base"]["ref"] == "main"
    assert pull["body"].startswith("## Drift check: RETRAIN")
    git(checkout, "fetch", "--quiet")
    changed = git(checkout, "diff", "--name-only", "origin/main", f"origin/{BRANCH}").split()
    assert changed == ["data.dvc", "dvc.lock", "params.yaml"]
    new = params.parse(__import__("yaml").safe_load(git(checkout, "show", f"origin/{BRANCH}:params.yaml")))
    assert (new.data.through, new.train.last) == ("2013-10", "2013-09")
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "branch", "--show-current") == "main"


def test_the_proposal_is_into_the_default_branch_whatever_its_name(
    evidence: Path, checkout: Path, api: str, tmp_path: Path
) -> None:
    git(tmp_path / "origin.git", "branch", "--move", "main", "trunk")
    propose(evidence, build=build)
    propose(evidence, build=build)
    (pull,) = pulls(api)
    assert (pull["head"]["ref"], pull["base"]["ref"]) == (BRANCH, "trunk")


def test_a_second_run_updates_the_open_proposal(evidence: Path, checkout: Path, api: str) -> None:
    propose(evidence, build=build)
    before = pulls(api)[0]
    write_text(evidence / "drift.md", "## Drift check: RETRAIN, again\n")
    propose(evidence, build=build)
    (pull,) = pulls(api)
    assert pull["number"] == before["number"] and "again" in pull["body"]
    assert (
        pull["head"]["sha"] == before["head"]["sha"]
    )  # nothing new: no push, which would start the checks again


def test_a_proposal_is_rebuilt_on_a_base_that_has_moved(evidence: Path, checkout: Path, api: str) -> None:
    propose(evidence, build=build)
    write_text(checkout / "README.md", "new\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "second")
    git(checkout, "push", "--quiet", "origin", "main")
    propose(evidence, build=build)
    assert len(pulls(api)) == 1
    git(checkout, "fetch", "--quiet")
    assert git(checkout, "merge-base", "origin/main", f"origin/{BRANCH}") == git(
        checkout, "rev-parse", "origin/main"
    )


def test_a_branch_on_which_people_work_is_left_alone(evidence: Path, checkout: Path, api: str) -> None:
    propose(evidence, build=build)
    git(checkout, "fetch", "--quiet")
    git(checkout, "checkout", "--quiet", BRANCH)
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "by hand")
    git(checkout, "push", "--quiet", "origin", BRANCH)
    mine = git(checkout, "rev-parse", "HEAD")
    with pytest.raises(UserError, match=r"has commits of ada@example\.org"):
        propose(evidence, build=build)
    assert git(checkout, "ls-remote", "origin", BRANCH).split()[0] == mine


@pytest.mark.parametrize("verdict", ["STEADY", "INCONCLUSIVE", "FAULT"])
def test_no_other_verdict_proposes_anything(evidence: Path, checkout: Path, api: str, verdict: str) -> None:
    check(verdict).write(evidence)
    propose(evidence, build=build)
    assert pulls(api) == []
    assert BRANCH not in git(checkout, "ls-remote", "origin")


def test_a_base_that_knows_the_month_already_needs_no_proposal(
    evidence: Path, checkout: Path, api: str
) -> None:
    write_text(checkout / "params.yaml", move_on((checkout / "params.yaml").read_text(), "2013-10"))
    git(checkout, "commit", "--quiet", "--all", "--message", "moved on")
    git(checkout, "push", "--quiet", "origin", "main")
    propose(evidence, build=build)
    assert pulls(api) == []


def test_without_a_token_the_command_is_printed(
    evidence: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    propose(evidence, build=build)
    assert f"Open a pull request of {BRANCH} into main" in capsys.readouterr().out
    assert BRANCH in git(checkout, "ls-remote", "origin")


def move_the_check_on(evidence: Path, through: str) -> None:
    check("RETRAIN").model_copy(update={"through": through}).write(evidence)


def test_a_newer_proposal_takes_the_place_of_the_older_one(evidence: Path, checkout: Path, api: str) -> None:
    propose(evidence, build=build)
    (older,) = pulls(api)
    move_the_check_on(evidence, "2013-11")
    propose(evidence, build=build)
    (newer,) = pulls(api)
    assert newer["head"]["ref"] == "retrain/2013-11"
    (said,) = github.call(f"{api}/issues/{older['number']}/comments")
    assert said["body"] == f"#{newer['number']} takes its place: it trains on newer months too."
    assert github.call(f"{api}/pulls/{older['number']}")["state"] == "closed"
    assert "retrain/2013-10" not in git(checkout, "ls-remote", "origin")
    move_the_check_on(evidence, "2013-10")
    propose(evidence, build=build)  # a check of an older month, late
    assert pulls(api) == [newer]


@pytest.mark.parametrize("nth", range(3))
def test_killed_between_the_two_the_same_command_finishes(
    evidence: Path, checkout: Path, api: str, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """After the newer one is there; after the comment; after the older one is closed."""
    propose(evidence, build=build)
    (older,) = pulls(api)
    move_the_check_on(evidence, "2013-11")
    ended, real, real_git = [0], GitHub.call, retrain._git

    def step(what: str) -> None:
        if what in ("/comments", "closed", "deleted"):
            ended[0] += 1
            if ended[0] == nth + 1:
                raise KeyboardInterrupt

    def call(self: GitHub, method: str, path: str, body: Any = None, **more: Any) -> Any:
        if str(older["number"]) in path and method != "GET":
            step("closed" if method == "PATCH" else "/comments")
        return real(self, method, path, body, **more)

    def ask(folder: Path, *arguments: str) -> str:
        if arguments[-1].startswith(":refs/heads/retrain"):
            step("deleted")
        return real_git(folder, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(GitHub, "call", call)
        patch.setattr(retrain, "_git", ask)
        propose(evidence, build=build)
    assert "retrain/2013-11" in [pull["head"]["ref"] for pull in pulls(api)]
    propose(evidence, build=build)
    assert [pull["head"]["ref"] for pull in pulls(api)] == ["retrain/2013-11"]
    assert len(github.call(f"{api}/issues/{older['number']}/comments")) == 1
    assert "retrain/2013-10" not in git(checkout, "ls-remote", "origin")


def test_an_older_proposal_on_which_people_work_stays(evidence: Path, checkout: Path, api: str) -> None:
    propose(evidence, build=build)
    git(checkout, "fetch", "--quiet")
    git(checkout, "checkout", "--quiet", BRANCH)
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "by hand")
    git(checkout, "push", "--quiet", "origin", BRANCH)
    move_the_check_on(evidence, "2013-11")
    propose(evidence, build=build)
    assert len(pulls(api)) == 2


STARTED = {
    "app": ("A GitHub App opened it, so its checks run.", ["second"]),
    "key": ("A deploy key pushed its newest commit", ["first", "second"]),
    "": ('presses "Approve and run" below', ["second"]),
}


@pytest.mark.parametrize("by", STARTED)
def test_who_starts_the_checks_is_in_the_text_and_a_key_pushes_to_an_open_pull_request(
    evidence: Path, checkout: Path, api: str, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setenv(retrain.STARTS, by)
    said, pushed = STARTED[by]
    heads, real = [], retrain._open

    def opened(evidence: Path, *more: Any) -> Any:
        heads.append(git(checkout, "ls-remote", "origin", BRANCH).split()[0])
        return real(evidence, *more)

    monkeypatch.setattr(retrain, "_open", opened)
    propose(evidence, build=build)
    (pull,) = pulls(api)
    assert said in pull["body"]
    git(checkout, "fetch", "--quiet")
    newest = git(checkout, "rev-parse", f"origin/{BRANCH}")
    known = {git(checkout, "rev-parse", f"{newest}^"): "first", newest: "second"}
    assert [known[head] for head in heads] == pushed
    assert git(checkout, "show", "--format=", "--name-only", f"{newest}^").split() == [
        "data.dvc",
        "params.yaml",
    ]
    heads.clear()
    propose(evidence, build=build)  # again: it is there, and up to date
    assert [known[head] for head in heads] == ["second"]


def test_a_deploy_key_of_the_checkout_pushes_from_the_clone_too(
    evidence: Path, checkout: Path, api: str
) -> None:
    public = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    github.call(f"{api}/keys", "POST", {"title": "ledger", "key": public, "read_only": False})
    fingerprint = asyncssh.import_public_key(public).get_fingerprint()
    pushes.door("enter", checkout, api, login=f"key:{fingerprint}")
    propose(evidence, build=build)
    (pull,) = pulls(api)
    told = json.loads((checkout.parent / "github/github.json").read_text())["pushers"]
    assert told[f"refs/heads/{BRANCH}"] == {"sha": pull["head"]["sha"], "by": "deploy key ledger"}


def test_an_apps_token_opens_and_pushes_as_the_app(
    evidence: Path, checkout: Path, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = retrain._git

    def ask(folder: Path, *arguments: str) -> str:
        with monkeypatch.context() as patch:
            if arguments[0] == "push":  # as a job's
                patch.setenv("GREENLIGHT_ORIGIN", str(checkout.parent / "origin.git"))
                patch.setenv("GITHUB_API_URL", api.split("/repos/")[0])
            return real(folder, *arguments)

    monkeypatch.setattr(retrain, "_git", ask)
    for token, refused in (("user:eve", True), ("app:9", False)):
        monkeypatch.setenv("GITHUB_TOKEN", token)
        with pytest.raises(UserError, match="denied to eve") if refused else contextlib.nullcontext():
            propose(evidence, build=build)
    (pull,) = pulls(api)
    told = json.loads((checkout.parent / "github/github.json").read_text())["pushers"]
    assert pull["user"]["login"] == told[f"refs/heads/{BRANCH}"]["by"] == "app-9[bot]"


def test_a_failed_step_is_one_sentence_and_pushes_nothing(evidence: Path, checkout: Path) -> None:
    def broken(clone: Path, through: str) -> None:
        from pipelines.monitoring.retrain import _run

        _run(clone, "sh", "-c", "echo 'ml: the source has no month 2013-10' >&2; exit 2")

    with pytest.raises(UserError, match="failed: the source has no month 2013-10"):
        propose(evidence, build=broken)
    assert BRANCH not in git(checkout, "ls-remote", "origin")


def test_only_two_values_of_params_yaml_change_and_its_comments_stay() -> None:
    before = PARAMS_FILE.read_text()
    after = move_on(before, "2014-01")
    pairs = zip(before.splitlines(), after.splitlines(), strict=True)
    changed = [(old, new) for old, new in pairs if old != new]
    assert [new.split("#")[0].strip() for _, new in changed] == ["through: 2014-01", "last: 2013-12"]
    assert all(old.partition("#")[2] == new.partition("#")[2] for old, new in changed)
