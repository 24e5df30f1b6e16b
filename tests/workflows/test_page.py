"""The real `page`, by act: whose run it follows. The name of a workflow is a stranger's word: a pull request
may bring a file of any name that calls itself `release`, and leaves any artifact."""

import shutil
from typing import Any

import pytest

from pipelines.local import act, events
from pipelines.local.act import Place
from tests.problems.yours import commit
from tests.project import ROOT, git

REPOSITORY = "you/flights"
RELEASE = {
    "id": 7,
    "name": "release",
    "path": ".github/workflows/release.yml",
    "event": "push",
    "head_branch": "main",
    "head_repository": {"full_name": REPOSITORY},
}
STRANGERS = {
    "a fork's pull request": {"event": "pull_request", "head_repository": {"full_name": "eve/flights"}},
    "a pull request of a branch": {"event": "pull_request", "head_branch": "mine"},
    "a review of a branch called main": {"event": "pull_request_review"},
    "a branch of its own": {"head_branch": "mine"},
    "a dispatch on a branch": {"event": "workflow_dispatch", "head_branch": "mine"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A repository that has nothing but its workflows."""
    folder = tmp_path_factory.mktemp("page")
    origin, main = folder / f"{REPOSITORY}.git", folder / "main"
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    shutil.copytree(ROOT / ".github", main / ".github")
    git(main, "init", "--quiet", "--initial-branch=main")
    commit(main, "workflows")
    git(main, "push", "--quiet", str(origin), "HEAD:refs/heads/main")
    return Place(origin, folder / "state", REPOSITORY, "http://127.0.0.1:9", {"GREENLIGHT_PAGE": "true"})


@pytest.mark.parametrize("whose", STRANGERS)
def test_no_run_of_a_strangers_workflow_makes_the_page(place: Place, whose: str) -> None:
    assert set(jobs(place, RELEASE | STRANGERS[whose]).values()) == {"skipped"}


@pytest.mark.parametrize("of", [{}, {"event": "schedule", "name": "drift"}], ids=["release", "drift"])
def test_a_run_of_the_default_branch_does(place: Place, of: dict[str, Any]) -> None:
    assert jobs(place, RELEASE | of)["page"] != "skipped"  # it begins; there is nothing to make it of


def jobs(place: Place, run: dict[str, Any]) -> dict[str, str]:
    return dict(act.run("page", events.workflow_run(REPOSITORY, run), place).jobs)
