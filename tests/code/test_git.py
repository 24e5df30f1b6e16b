"""A person's settings and a hook's variables change no answer of git, and its failure is never a no."""

import re
import subprocess
from pathlib import Path

import pytest

from pipelines.base import git
from pipelines.base.git import Failed

ME = {"user.name": "Ada", "user.email": "ada@example.com"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    git.run("init", "--quiet", "--initial-branch=main", str(folder))
    (folder / "a.txt").write_text("one\n")
    commit(folder, "First")
    return folder


def commit(folder: Path, message: str) -> str:
    git.run("add", "--all", at=folder)
    git.run("commit", "--quiet", "--message", message, at=folder, settings=ME)
    return git.head(folder)


def settle(monkeypatch: pytest.MonkeyPatch, file: Path, **settings: str) -> None:
    """What a person has in ~/.gitconfig; the names have __ for a dot."""
    for name, value in settings.items():
        key = name.replace("__", ".")
        subprocess.run(["git", "config", "--file", file, key, value], check=True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))


def test_a_repository_that_a_hook_exports_is_not_the_one_that_is_asked(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    git.run("init", "--quiet", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert git.run("rev-parse", "--show-toplevel", at=repository) == str(repository.resolve())
    commit_now = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True)
    assert commit_now.returncode, "the control: plain git is misled"


def test_hooks_and_signatures_of_a_person_stop_no_commit_and_no_push(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, origin = tmp_path / "hooks", tmp_path / "origin.git"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "pre-push", "post-checkout", "post-commit"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    settings = {"core__hooksPath": str(hooks), "commit__gpgSign": "true", "push__followTags": "true"}
    settle(monkeypatch, tmp_path / "gitconfig", **settings)
    git.run("init", "--quiet", "--bare", str(origin))
    (repository / "a.txt").write_text("two\n")
    made = commit(repository, "Second")
    git.run("push", "--quiet", str(origin), "HEAD:refs/heads/main", at=repository)
    assert git.commit("main", origin) == made
    assert not (tmp_path / "ran").exists()
    plain = subprocess.run(
        ["git", "-C", repository, "push", origin, "HEAD:refs/heads/other"], capture_output=True
    )
    assert plain.returncode, "the control: plain git runs the hook"


def test_a_checkout_holds_the_commit_s_bytes(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch, tmp_path / "gitconfig", core__autocrlf="true", clone__defaultRemoteName="upstream")
    git.run("clone", "--quiet", str(repository), str(tmp_path / "clone"))
    assert (tmp_path / "clone/a.txt").read_bytes() == b"one\n"
    assert git.remote_url("origin", tmp_path / "clone") == str(repository)
    subprocess.run(["git", "clone", "--quiet", repository, tmp_path / "plain"], check=True)
    assert (tmp_path / "plain/a.txt").read_bytes() == b"one\r\n", "the control: plain git changes it"


def test_an_answer_is_the_same_whatever_log_and_status_are_set_to(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"log__showSignature": "true", "status__showUntrackedFiles": "no", "color__ui": "always"}
    settle(monkeypatch, tmp_path / "gitconfig", **settings)
    (repository / "new file.txt").write_text("")
    assert git.dirty(repository) == ["new file.txt"]
    assert git.dirty(repository, untracked=False) == []
    assert git.run("log", "-1", "--format=%H", at=repository) == git.head(repository)


def test_what_brings_a_login_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -i key")
    monkeypatch.setenv("GIT_WORK_TREE", "/elsewhere")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "3")
    for number, (name, value) in enumerate(
        [("core.hooksPath", "/hooks"), ("url.https://x/.insteadOf", "y:"), ("http.extraHeader", "A: b")]
    ):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    found = git.variables({"user.name": "Ada"})
    assert found["GIT_SSH_COMMAND"] == "ssh -i key"
    assert "GIT_WORK_TREE" not in found
    keys = [found[f"GIT_CONFIG_KEY_{n}"] for n in range(int(found["GIT_CONFIG_COUNT"]))]
    assert keys == ["url.https://x/.insteadOf", "http.extraHeader", "user.name"]


def test_commits_and_files_are_told_from_their_absence(repository: Path) -> None:
    first = git.head(repository)
    (repository / "folder").mkdir()
    (repository / "folder/b é.txt").write_bytes(b"\xff\n")
    second = commit(repository, "Second")
    assert git.commit("main", repository) == second
    assert git.commit("0" * 40, repository) is None
    assert git.commit("no such branch", repository) is None
    assert git.blob("HEAD", "folder/b é.txt", repository) == b"\xff\n"
    assert git.blob("HEAD", "./a.txt", repository / "folder") is None
    assert git.blob(first, "folder/b é.txt", repository) is None
    assert git.changes(first, second, repository) == ["folder/b é.txt"]
    assert git.tree("HEAD", at=repository).keys() == {"a.txt", "folder/b é.txt"}
    assert git.tree("HEAD", "folder", at=repository).keys() == {"folder/b é.txt"}
    assert git.is_ancestor(first, second, repository)
    assert not git.is_ancestor(second, first, repository)
    assert not git.is_ancestor("0" * 40, second, repository)
    assert git.merge_base(first, second, repository) == first
    assert git.config("no.such", repository) is None
    assert git.remote_url("origin", repository) is None


def test_a_folder_without_a_repository_is_a_failure_and_no_answer(tmp_path: Path) -> None:
    for ask in (git.head, lambda at: git.commit("HEAD", at), lambda at: git.blob("HEAD", "x", at), git.dirty):
        with pytest.raises(Failed, match=r"is not a Git repository: run this in a clone"):
            ask(tmp_path)
    with pytest.raises(Failed, match="is not a Git repository"):
        git.remote_url("origin", tmp_path)


def test_a_repository_without_a_commit_has_no_file_and_says_so(tmp_path: Path) -> None:
    git.run("init", "--quiet", str(tmp_path))
    assert git.blob("HEAD", "dvc.lock", tmp_path) is None
    with pytest.raises(Failed, match="no commit yet"):
        git.head(tmp_path)


def test_a_checkout_of_another_owner_is_a_failure_with_the_way_out(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to test it
    monkeypatch.setattr(git, "LOGIN", re.compile(git.LOGIN.pattern + "|GIT_TEST_ASSUME_DIFFERENT_OWNER"))
    with pytest.raises(Failed, match=r"another user: run `git config --global --add safe\.directory /"):
        git.blob("HEAD", "a.txt", repository)


def test_a_machine_without_git_is_told_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failed, match="git is not on PATH"):
        git.head(tmp_path)


def test_a_command_that_hangs_ends_in_time(repository: Path) -> None:
    done = git.tried("-c", "alias.wait=!sleep 60", "wait", at=repository, within=0.3)
    assert done.code == 124


def test_a_remote_says_which_branch_is_its_default_one(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(Failed):  # it has no remote
        git.default_branch(at=repository)
    git.run("clone", "--quiet", "--bare", str(repository), str(tmp_path / "origin.git"))
    git.run("remote", "add", "origin", str(tmp_path / "origin.git"), at=repository)
    for name in ("trunk", "deep/er"):
        git.run("branch", "--force", name, "HEAD", at=tmp_path / "origin.git")
        git.run("symbolic-ref", "HEAD", f"refs/heads/{name}", at=tmp_path / "origin.git")
        assert git.default_branch(at=repository) == (f"refs/heads/{name}", git.head(repository))
    git.run("symbolic-ref", "HEAD", "refs/heads/none", at=tmp_path / "origin.git")
    assert git.default_branch(at=repository) == (git.UNSAID, git.head(repository))  # where it names none
    git.run("update-ref", "-d", git.UNSAID, at=tmp_path / "origin.git")
    assert git.default_branch(at=repository) == (git.UNSAID, None)
