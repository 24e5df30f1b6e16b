"""`ml evidence`: which run judged a head, or a merged commit."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.files import read_json
from pipelines.local import events
from pipelines.local.github import call
from pipelines.review import runs
from tests.workflows.conftest import Commit
from tests.workflows.proposal import BETTER, PASS, REPOSITORY, UNSURE, Proposal, Propose

GOOD = {"verdict": "PASS", "findings": [PASS]}


def completed(proposal: Proposal, told: dict[str, Any]) -> Path:
    path = proposal.folder.parent / "completed.json"
    path.write_text(json.dumps(events.workflow_run(REPOSITORY, told).payload))
    return path


def ask(proposal: Proposal, event: Path) -> dict[str, str]:
    proposal.output.write_text("")
    assert runs.of_event(event) == 0
    return proposal.outputs()


def keep_report(proposal: Proposal) -> None:
    """The newest run has left the artifact."""
    (proposal.state / f"artifacts/{proposal.ran[-1]}/report").mkdir(parents=True)


def test_the_newest_run_of_a_head_judges_it_whatever_asks(propose: Propose) -> None:
    proposal = propose(BETTER)
    first = proposal.run()
    proposal.run()
    keep_report(proposal)
    proposal.run(conclusion="cancelled")
    for event in (completed(proposal, first), proposal.label("ada")):
        assert ask(proposal, event) == {"run": "2", "report": "true"}


def test_a_run_that_the_list_shows_as_unfinished_is_known_from_its_event(propose: Propose) -> None:
    proposal = propose(BETTER)
    told = proposal.run()
    lagging = told | {"status": "in_progress", "conclusion": None}
    (proposal.state / "runs/1/run.json").write_text(json.dumps(lagging))
    assert ask(proposal, completed(proposal, told)) == {"run": "1", "report": "false"}


def test_before_the_first_run_has_ended_a_label_finds_none(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    assert ask(proposal, proposal.label("ada")) == {"run": "", "report": "false"}
    proposal.run()
    commit({"dvc.lock": "3\n"}, "proposal")  # another head
    assert ask(proposal, proposal.label("bob")) == {"run": "", "report": "false"}


@pytest.mark.parametrize(
    "change",
    [
        {"head_branch": "twin"},
        {"head_repository": {"full_name": "eve/flights", "owner": {"login": "eve"}}},
        {"head_repository": None},
        {"event": "push"},
        {"status": "in_progress", "conclusion": None},
        {"path": ".github/workflows/ci.yml"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_run_of_something_else_does_not_judge_it(propose: Propose, change: dict[str, Any]) -> None:
    proposal = propose(BETTER)
    proposal.run(**change)
    assert ask(proposal, proposal.label("ada"))["run"] == ""


def test_a_payload_of_another_event_is_one_sentence(propose: Propose, tmp_path: Path) -> None:
    propose(BETTER)
    (tmp_path / "event.json").write_text("{}")
    with pytest.raises(UserError, match="neither the payload of a workflow_run nor"):
        runs.of_event(tmp_path / "event.json")


def test_a_gate_of_another_base_does_not_judge_for_this_one(propose: Propose, commit: Commit) -> None:
    """A pull request onto a branch with an easy gate, whose base is changed once that gate has passed it."""
    commit({"pipelines/review/gate.py": "easy\n"}, "easy")
    proposal = propose(BETTER, base="easy")
    proposal.leave(GOOD)
    proposal.run()
    call(f"{proposal.api}/pulls/{proposal.pull['number']}", "PATCH", {"base": "main"})
    told = proposal.comment()
    assert told["state"] == "error" and "began before it had this base" in told["sentence"]
    later = {"created_at": "2999-01-01T00:00:00Z"}  # negative control: a run that began after it
    assert proposal.judge(**later)["state"] != "error"


def test_a_run_from_before_the_pull_request_does_not_judge_it(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.leave(GOOD)
    assert proposal.judge(created_at="2001-01-01T00:00:00Z")["state"] == "error"
    assert proposal.judge()["state"] == "success"


# --- of a merged commit -----------------------------------------------------------------------------------


def merge(proposal: Proposal) -> str:
    sha = proposal.pull["head"]["sha"]
    merged = call(f"{proposal.api}/pulls/{proposal.pull['number']}/merge", "PUT", {"sha": sha})
    return str(merged["sha"])


def of(proposal: Proposal, commit: str) -> tuple[dict[str, str], str]:
    """The outputs and the summary."""
    proposal.output.write_text("")
    summary = proposal.folder.parent / "summary.md"
    summary.write_text("")
    out = proposal.folder.parent / "build/proposal.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_STEP_SUMMARY", str(summary))
        assert runs.of_commit(commit, out) == 0
    return proposal.outputs(), summary.read_text()


def test_a_merged_commit_is_found_with_its_run_and_who_let_it_through(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    proposal.leave({"verdict": "INCONCLUSIVE", "findings": [UNSURE]})
    proposal.judge()
    keep_report(proposal)
    assert of(proposal, merge(proposal)) == ({"run": "1", "report": "true"}, "")
    assert read_json(proposal.folder.parent / "build/proposal.json") == {
        "number": proposal.pull["number"],
        "title": "x",
        "head": proposal.pull["head"]["sha"],
        "run": 1,
        "override": "ada",
    }


def test_without_evidence_the_summary_says_why(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    proposal.leave(GOOD)
    direct = commit({"README.md": "direct\n"})
    nothing = {"run": "", "report": "false"}
    told, summary = of(proposal, direct)
    assert told == nothing and "no pull request brought" in summary
    told, summary = of(proposal, proposal.pull["head"]["sha"])  # proposed, but not what was merged
    assert told == nothing and "no pull request brought" in summary
    commit({"README.md": None}, "main")
    other = propose({"docs/a.md": "x"}, "docs")
    other.judge()
    told, summary = of(other, merge(other))
    assert told == nothing and "left no report, or it has expired" in summary
