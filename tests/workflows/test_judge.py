"""The real `propose` and `judge`, by act: a forging ends in failure or pending, an honest one in success."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.local import act, events
from pipelines.local.act import Place
from pipelines.local.github import call
from pipelines.pulls import override
from tests.workflows.conftest import ROOT, Commit
from tests.workflows.proposal import Propose

FILES = (".github", "pipelines", "requirements", "pyproject.toml", "Makefile")


@pytest.fixture
def whole(propose: Propose, commit: Commit, tmp_path: Path) -> Propose:
    """`propose` in a repository that has the project's own code and workflows."""
    for name in FILES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(
            ROOT / name,
            tmp_path / "clone" / name,
            **({"dirs_exist_ok": True} if copy is shutil.copytree else {}),
        )
    commit({".gitignore": ".venv\n__pycache__/\n"})
    return propose


@pytest.mark.slow
def test_judge_itself_lets_through_what_a_maintainer_labels(whole: Propose, place: Place) -> None:
    """A verdict first, then labels of a stranger and of a maintainer."""
    proposal = whole({"docs/a.md": "a\n", ".github/dependabot.yml": "x\n"})
    proposal.role("ada", "maintain")
    place = replace(place, api=proposal.api.split("/repos/")[0])

    def run(event: events.Event) -> tuple[set[str], str]:
        """The jobs that ran, and the state."""
        done = act.run("judge", event, place)
        assert done.code == 0, done.log.read_text()
        status = proposal.status()
        return {job for job, result in done.jobs.items() if result == "success"}, (status or {}).get(
            "state", ""
        )

    ended = events.workflow_run(place.repository, proposal.run(candidate=False))
    assert run(ended) == ({"find", "status"}, "pending")
    for login, name, jobs, state in (
        ("ada", "bug", set(), "pending"),
        ("eve", override.LABEL, {"override", "find", "status"}, "pending"),
        ("ada", override.LABEL, {"override", "find", "status"}, "success"),
    ):
        if state == "success":
            proposal.unlabel("eve")
        proposal.label(login, name)
        pull = call(f"{proposal.api}/pulls/{proposal.pull['number']}")
        assert run(events.label(pull, "labeled", name, login)) == (jobs, state)
