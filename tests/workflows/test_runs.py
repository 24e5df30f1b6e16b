"""`ml ci proposal` and `ml ci evidence`: which run built a head, which one judged a merged commit."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import read_json
from pipelines.local.github import call
from pipelines.pulls import proposals, runs
from tests.workflows.conftest import Commit
from tests.workflows.proposal import BETTER, GOOD, UNDECIDED, Proposal, Propose, data, lock

NOTHING = {"run": "", "build": "false", "head": "", "base": ""}


def ask(proposal: Proposal, event: Path) -> dict[str, str]:
    proposal.output.write_text("")
    runs.of_event(event)
    return proposal.outputs()


def test_the_newest_run_of_a_head_is_judged_whatever_asks(propose: Propose) -> None:
    proposal = propose(BETTER)
    first = proposal.run()
    proposal.run()
    proposal.run(conclusion="cancelled")
    known = {"run": "2", "build": "false", "head": proposal.pull["head"]["sha"], "base": proposal.tip()}
    for event in (proposal.ended(first), proposal.label("ada")):
        assert ask(proposal, event) == known


def test_before_a_candidate_is_there_nothing_is_judged(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    assert ask(proposal, proposal.label("ada"))["run"] == ""
    proposal.run(candidate=False)
    assert ask(proposal, proposal.label("bob"))["run"] == ""
    proposal.run()
    assert ask(proposal, proposal.label("eve"))["run"] == "2"  # negative control
    commit({"dvc.lock": lock("3")}, "proposal")  # another head
    assert ask(proposal, proposal.label("dan"))["run"] == ""


def test_what_changes_no_model_or_goes_elsewhere_needs_no_gate(propose: Propose, commit: Commit) -> None:
    pages = propose({"README.md": "y\n"}, "pages")
    assert ask(pages, pages.ended(pages.run()))["run"] == ""
    commit({"dvc.lock": lock("easy")}, "easy")
    easy = propose(BETTER, base="easy")
    assert ask(easy, easy.ended(easy.run())) == NOTHING
    easy.patch(state="closed")
    assert ask(easy, easy.ended(easy.run())) == NOTHING


@pytest.mark.parametrize(
    "change",
    [
        {"head_branch": "twin"},
        {"head_repository": {"full_name": "eve/flights", "owner": {"login": "eve"}}},
        {"head_repository": None},
        {"event": "push"},
        {"status": "in_progress", "conclusion": None},
        {"conclusion": "action_required"},
        {"path": ".github/workflows/ci.yml"},
    ],
    ids=str,
)
def test_a_run_of_something_else_built_nothing_of_it(propose: Propose, change: dict[str, Any]) -> None:
    proposal = propose(BETTER)
    proposal.run(**change)
    assert ask(proposal, proposal.label("ada"))["run"] == ""


def test_an_event_of_another_kind_is_refused(propose: Propose, tmp_path: Path) -> None:
    propose(BETTER)
    (tmp_path / "push.json").write_text('{"after": "x"}')
    with pytest.raises(UserError, match=r"push\.json is neither the payload"):
        runs.of_event(tmp_path / "push.json")


def test_what_the_build_says_of_the_commits_own_files_does_not_count(
    propose: Propose, tmp_path: Path
) -> None:
    proposal = propose(BETTER)
    folder = tmp_path / "candidate"
    folder.mkdir()
    (folder / "params.yaml").write_text("gate: easy\n")
    proposals.candidate(folder, proposal.pull["head"]["sha"])
    assert {path.name: path.read_text() for path in folder.iterdir()} == BETTER | {"data.dvc": data("1")}
    without = propose({"data.dvc": None}, "without")
    with pytest.raises(UserError, match=r"data\.dvc of .* cannot be judged: it is not a plain file"):
        proposals.candidate(folder, without.pull["head"]["sha"])
    with pytest.raises(UserError, match="not a commit's SHA"):
        proposals.candidate(folder, "main")


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
    out = proposal.folder.parent / "build"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_STEP_SUMMARY", str(summary))
        runs.of_commit(commit, out)
    return proposal.outputs(), summary.read_text()


def judge_run(proposal: Proposal, number: int, path: str = runs.JUDGE) -> None:
    """The run that sets the status from now on, with its report."""
    told = proposal.run(candidate=False, id=number, event="workflow_run", path=path)
    (proposal.state / f"runs/{proposal.ran.pop()}").rename(proposal.state / f"runs/{number}")
    assert told["id"] == number
    proposal.keep("report", number)


def test_a_merged_commit_is_found_with_its_run_and_who_let_it_through(
    propose: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    judge_run(proposal, 77)
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    assert proposal.judge(UNDECIDED)[0] == "success"
    assert of(proposal, merge(proposal)) == ({"run": "77", "report": "true"}, "")
    assert read_json(proposal.folder.parent / "build/proposal.json") == {
        "version": 1,
        "number": proposal.pull["number"],
        "title": "x",
        "head": proposal.pull["head"]["sha"],
        "run": 77,
        "override": "ada",
    }


@pytest.mark.parametrize("forged", ["another workflow's run", "somebody's status"])
def test_only_a_run_of_judge_is_evidence(
    propose: Propose, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    proposal = propose(BETTER)
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    judge_run(proposal, 77, runs.PROPOSE if forged == "another workflow's run" else runs.JUDGE)
    sha = proposal.pull["head"]["sha"]
    body = {"state": "success", "context": "greenlight/gate", "target_url": runs.here()}
    token = "user:eve" if forged == "somebody's status" else "local-token"
    call(f"{proposal.api}/statuses/{sha}", "POST", body, token=token)
    told, summary = of(proposal, merge(proposal))
    assert told == {"run": "", "report": "false"} and "has no greenlight/gate that a run of" in summary


def test_without_evidence_the_summary_says_why(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    direct = commit({"README.md": "direct\n"})
    nothing = {"run": "", "report": "false"}
    told, summary = of(proposal, direct)
    assert told == nothing and "no pull request brought" in summary
    told, summary = of(proposal, proposal.pull["head"]["sha"])  # proposed, but not what was merged
    assert told == nothing and "no pull request brought" in summary


def test_a_report_that_is_gone_is_no_evidence(propose: Propose, monkeypatch: pytest.MonkeyPatch) -> None:
    proposal = propose(BETTER)
    judge_run(proposal, 77)
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    proposal.judge(GOOD)
    (proposal.state / "artifacts/77/report").rmdir()
    told, summary = of(proposal, merge(proposal))
    assert told == {"run": "", "report": "false"} and "left no report, or it has expired" in summary
