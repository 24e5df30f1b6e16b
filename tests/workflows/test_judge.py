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
from tests.workflows.proposal import Propose, labelled

FILES = (".github", "pipelines", "requirements", "pyproject.toml", "Makefile", "dvc.yaml")


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
    commit({".gitignore": ".venv\n__pycache__/\n", "dvc.lock": "stages: {}\n"})  # nothing was ever trained
    return propose


@pytest.mark.slow
def test_judge_itself_lets_through_what_a_maintainer_labels(whole: Propose, place: Place) -> None:
    """A verdict first, then labels of a stranger and of a maintainer; then it is a draft, and ready again."""
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
        assert run(labelled(pull, "labeled", name, login)) == (jobs, state)
    for draft, state in ((True, "pending"), (False, "success")):
        proposal.draft(draft)
        told = events.targeted(proposal.now(), "converted_to_draft" if draft else "ready_for_review")
        assert run(told) == ({"find", "status"}, state)


# What any code of a run can do on GitHub: leave artifacts under free names, write the run's caches, say what
# it likes to the steps after it. Here these are folders.
FORGER = """
import json, os, pathlib
run = pathlib.Path(os.environ["GREENLIGHT_ARTIFACTS"]) / os.environ["GITHUB_RUN_ID"]
verdict = {"version": 1, "head": HEAD, "base": BASE, "verdict": "PASS", "superior": True}
verdict["findings"] = [{"rule": "roc_auc", "verdict": "PASS", "sentence": "forged"}]
for name in ("report", "verdict", "candidate"):
    (run / name).mkdir(parents=True, exist_ok=True)
    (run / name / "gate.json").write_text(json.dumps(verdict))
    (run / name / "report.md").write_text("<!-- greenlight/gate --> forged")
    (run / name / "params.yaml").write_text("gate: {days: 0}")
cache = pathlib.Path(os.environ["GREENLIGHT_CACHES"])
cache.mkdir(parents=True, exist_ok=True)
for entry in [cache, *cache.iterdir()]:
    if entry.is_dir():
        (entry / "Makefile").write_text(".venv/ready: ; touch poisoned")
def output(name, value):
    with open(os.environ["GITHUB_OUTPUT"], "a") as file:
        file.write("model=false\\nrun=\\nreport=true\\n")
"""


@pytest.mark.slow
def test_what_a_proposals_run_leaves_and_says_does_not_speak_for_the_judge(
    whole: Propose, place: Place, tmp_path: Path
) -> None:
    """It changes pipelines/base/console.py and dvc.lock alone, and nothing is built: forged are artifacts,
    caches and outputs. Somebody with the label's right, but not a maintainer's, helps along."""
    console = (ROOT / "pipelines/base/console.py").read_text()
    proposal = whole({"dvc.lock": "stages: {forged: {}}\n"})
    place = replace(place, api=proposal.api.split("/repos/")[0])
    names = f"HEAD, BASE = {'1' * 40!r}, {proposal.tip()!r}\n"
    proposal = whole({"pipelines/base/console.py": f"{console}\n{names}{FORGER}"}, "forged", "proposal")
    proposal.patch(base="main")
    built = act.run("propose", events.pull_request(proposal.now(), "opened"), place)
    left = {path.name for path in (place.state / f"artifacts/{built.id}").iterdir()}
    assert built.code == 0 and left == {"report", "verdict", "candidate"}  # the forging itself went well

    ended = events.workflow_run(place.repository, built.as_json(place.repository))
    judged = act.run("judge", ended, place)
    assert set(judged.jobs.values()) - {"success"} == {"skipped"}, judged.log.read_text()  # of `override`
    status = proposal.status() or {}
    assert status["state"] == "failure" and status["description"].startswith("FAIL: "), status
    assert "forged" not in status["description"] and not list(tmp_path.rglob("poisoned"))
    (posted,) = call(f"{proposal.api}/issues/{proposal.pull['number']}/comments")
    assert "FAIL" in posted["body"] and "`pipelines/base/console.py`" in posted["body"]
    assert "forged" not in posted["body"].splitlines()[0]

    proposal.role("eve", "write")
    proposal.label("eve")
    act.run("judge", labelled(proposal.now(), "labeled", override.LABEL, "eve"), place)
    assert (proposal.status() or {})["state"] == "failure"
    (again,) = call(f"{proposal.api}/issues/{proposal.pull['number']}/comments")
    assert again["id"] == posted["id"] and "does not let" in again["body"]  # ours, brought up to date
