"""A small repository with a bare origin, and the places in which its workflows run."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.local import github
from pipelines.local.act import Place
from pipelines.local.github import call
from tests.workflows import people  # noqa: F401 (its routes)
from tests.workflows.proposal import PARAMS, Proposal, Propose, data, lock

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
Commit = Callable[..., str]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    return Place(tmp_path / "origin.git", tmp_path / "state", "somebody/flights")


@pytest.fixture
def commit(place: Place, tmp_path: Path) -> Commit:
    """commit(files, branch="main", start="main"): put files (None deletes) on a branch of the origin."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(place.origin), "clone")

    def put(files: dict[str, str | None], branch: str = "main", start: str = "main") -> str:
        git(clone, "fetch", "--quiet", "origin")
        known = git(clone, "branch", "--remotes", "--list", f"origin/{branch}", f"origin/{start}").split()
        if f"origin/{branch}" in known:
            git(clone, "checkout", "--quiet", "-B", branch, f"origin/{branch}")
        elif known:
            git(clone, "checkout", "--quiet", "-B", branch, f"origin/{start}")
        else:
            git(clone, "checkout", "--quiet", "-B", branch)
        for name, content in files.items():
            file = clone / name
            if content is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)
        git(clone, "add", "--all", "--force")
        git(clone, "commit", "--quiet", "--allow-empty", "--message", f"change {', '.join(files)}")
        git(clone, "push", "--quiet", "origin", branch)
        return git(clone, "rev-parse", "HEAD")

    return put


@pytest.fixture
def api(place: Place) -> Iterator[str]:
    """The address of the stand-in of GitHub, below the repository."""
    with github.serve(place.state, place.origin, place.repository) as url:
        yield f"{url}/repos/{place.repository}"


@pytest.fixture
def propose(
    api: str, place: Place, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Propose:
    """propose(files): a pull request that changes these files of a small repository."""
    monkeypatch.setenv("GITHUB_API_URL", api.split("/repos/")[0])
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/flights")
    monkeypatch.setenv("GITHUB_TOKEN", "local-token")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    commit(
        {
            "params.yaml": PARAMS,
            "README.md": "x\n",
            "pipelines/core/stats.py": "a = 1\n" * 9,
            "dvc.lock": lock("1"),
            "data.dvc": data("1"),
        }
    )

    def put(files: dict[str, str | None], branch: str = "proposal", base: str = "main") -> Proposal:
        commit(files, branch, base)
        made = call(f"{api}/pulls", "POST", {"title": "x", "head": branch, "base": base})
        return Proposal(api, made, place.state, tmp_path / "evidence", tmp_path / "output")

    return put
