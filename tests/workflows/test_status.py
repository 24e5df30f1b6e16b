"""`ml ci verdict`: which verdict becomes the status of which commit, and what does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.verdict import Verdict
from pipelines.base.errors import UserError
from pipelines.base.github import GitHub
from pipelines.local.act import Place
from pipelines.local.github import call
from pipelines.pulls import proposals, runs
from pipelines.pulls.proposals import GATE
from tests.workflows.conftest import Commit, git
from tests.workflows.proposal import (
    BETTER,
    FAIL,
    GOOD,
    PARAMS,
    PASS,
    UNDECIDED,
    UNSURE,
    WORSE,
    Proposal,
    Propose,
    lock,
)


@pytest.mark.parametrize(
    ("gate", "state", "sentence"),
    [
        ({"verdict": "PASS", "findings": [PASS, PASS]}, "success", "PASS: all 2 rules hold"),
        ({"verdict": "FAIL", "findings": [PASS, UNSURE, FAIL]}, "failure", "FAIL: log-loss is worse by 0.02"),
        (UNDECIDED, "failure", "INCONCLUSIVE: The test window has 7 days, not 28"),
    ],
)
def test_the_verdict_becomes_the_status_of_the_head(
    propose: Propose, gate: Any, state: str, sentence: str
) -> None:
    proposal = propose(BETTER)
    assert proposal.judge(gate) == (state, sentence)
    assert proposal.outputs() == {"number": str(proposal.pull["number"]), "report": "true"}
    assert (proposal.status() or {})["target_url"] == runs.here()


def test_the_gate_speaks_for_the_default_branch_whatever_its_name(propose: Propose, place: Place) -> None:
    git(place.origin, "branch", "--move", "main", "trunk")
    proposal = propose(BETTER, base="trunk")
    assert proposal.judge(GOOD)[0] == "success" and proposal.status()
    git(place.origin, "branch", "main", "trunk")
    other = propose(BETTER | {"README.md": "z\n"}, branch="other", base="main")
    assert other.judge(GOOD) == ("none", "") and other.status("greenlight/gate (main)")


def test_no_model_changed_is_success_without_evidence(propose: Propose) -> None:
    proposal = propose({"README.md": "y\n", "docs/a/b.md": "x\n"})
    assert proposal.judge() == ("success", "no model changed")
    assert proposal.outputs() == {"number": "", "report": "false"}


def test_a_pull_request_without_files_is_not_one_without_a_model(propose: Propose) -> None:
    assert propose({}).judge(GOOD)[0] == "error"


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"pipelines/base/console.py": "x"}, "pipelines/base/console.py"),
        ({"params.yaml": PARAMS.replace("days: 28 #", "days: 7 #")}, "params.yaml: gate"),
        ({"Makefile": "x", "setup.py": "x"}, "Makefile and 1 more"),
    ],
    ids=["code", "thresholds", "two"],
)
def test_what_is_not_on_the_list_waits_for_a_maintainer(
    propose: Propose, files: dict[str, str | None], what: str
) -> None:
    proposal = propose(BETTER | files)
    said = f"a maintainer decides: it changes {what}; PASS: all 1 rules hold"
    assert proposal.judge(GOOD) == ("pending", said)
    assert proposal.report().split("\n")[1].startswith("> **A maintainer decides**: it changes `")
    assert proposal.judge(WORSE)[0] == "failure"


# --- no evidence is not a success ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "state", "sentence"),
    [
        ({"conclusion": "action_required"}, "pending", 'waits for "Approve and run"'),
        ({"status": "action_required", "conclusion": None}, "pending", 'waits for "Approve and run"'),
        ({"status": "waiting", "conclusion": None}, "pending", 'waits for "Approve and run"'),
        ({"status": "queued", "conclusion": None}, "pending", "is being built"),
        ({"candidate": False, "conclusion": "failure"}, "error", "ended (failure) and left no candidate"),
        ({"candidate": False}, "error", "ended (success) and left no candidate"),
        ({"candidate": False, "conclusion": "cancelled"}, "error", "ended (cancelled)"),
        ({}, "error", "the gate did not end"),
    ],
    ids=str,
)
def test_without_a_verdict_the_status_says_what_is_missing(
    propose: Propose, run: dict[str, Any], state: str, sentence: str
) -> None:
    proposal = propose(BETTER)
    found = proposal.judge(**run)
    assert found[0] == state and sentence in found[1]
    assert proposal.outputs()["report"] == "false"


HOSTILE = {
    "no JSON": "{",
    "deep JSON": "[" * 100_000,
    "a list": "[]",
    "another verdict": {"verdict": "SUCCESS", "findings": [PASS]},
    "no findings": {"verdict": "PASS", "findings": []},
    "PASS beside a finding of FAIL": {"verdict": "PASS", "findings": [PASS, FAIL]},
    "another head's": GOOD | {"head": "1" * 40},
    "another base's": GOOD | {"base": "1" * 40},
    "nobody's": GOOD | {"head": None, "base": None},
    "too large": GOOD | {"more": "x" * Verdict.LARGEST},
}


@pytest.mark.parametrize("gate", HOSTILE.values(), ids=HOSTILE)
def test_what_the_gate_did_not_write_of_this_head_and_base_is_no_evidence(
    propose: Propose, gate: Any
) -> None:
    proposal = propose(BETTER)
    assert proposal.judge(gate)[0] in ("error", "pending")
    assert proposal.outputs()["report"] == "false"
    assert proposal.judge(GOOD)[0] == "success"  # negative control


def test_a_verdict_is_a_plain_file(propose: Propose, tmp_path: Path) -> None:
    proposal = propose(BETTER)
    proposal.leave(GOOD)
    (proposal.folder / "gate.json").rename(tmp_path / "elsewhere.json")
    (proposal.folder / "gate.json").symlink_to(tmp_path / "elsewhere.json")
    assert proposal.judge()[0] == "error"


def test_a_hostile_sentence_is_cut_and_cleaned(propose: Propose) -> None:
    proposal = propose(BETTER)
    sentence = "worse\n::set-output name=number::1\x1b[2J\u202e" + "x" * 500
    told = proposal.judge({"verdict": "FAIL", "findings": [FAIL | {"sentence": sentence}]})[1]
    assert len(told) <= 140 and told.isprintable()
    assert proposal.outputs()["number"] == str(proposal.pull["number"])


# --- whose verdict, for which commits ----------------------------------------------------------------------


def test_another_base_has_another_context_and_is_not_judged(propose: Propose, commit: Commit) -> None:
    commit({"dvc.lock": lock("easy")}, "easy")
    proposal = propose(BETTER, base="easy")
    assert proposal.judge(GOOD) == ("none", "")
    found = proposal.status(f"{GATE} (easy)") or {}
    assert (found["state"], found["description"]) == (
        "pending",
        "not judged: the gate speaks for main alone, and this goes into easy",
    )


def test_the_same_head_onto_two_bases_is_two_proposals(propose: Propose, commit: Commit) -> None:
    commit({"dvc.lock": lock("easy")}, "easy")
    easy = propose(BETTER, base="easy")
    easy.judge()
    main = propose({}, "proposal")
    assert main.judge(WORSE)[0] == "failure"
    assert (main.status(f"{GATE} (easy)") or {})["state"] == "pending"
    call(f"{easy.api}/pulls/{easy.pull['number']}", "PATCH", {"state": "closed"})  # a closed twin
    assert main.speak()[0] == "failure"


@pytest.mark.parametrize("event", ["automatic_base_change_succeeded", "base_ref_changed"])
def test_a_success_onto_one_base_says_nothing_onto_another(
    propose: Propose, commit: Commit, place: Place, event: str
) -> None:
    """Also where GitHub moves it itself, because the base branch was deleted: that starts no workflow."""
    commit({"dvc.lock": lock("easy")}, "easy")
    proposal = propose(BETTER, base="easy")
    proposal.judge(GOOD)
    proposal.patch(base="main")
    if event == "automatic_base_change_succeeded":
        git(place.origin, "branch", "--delete", "--force", "easy")
    assert proposal.status() is None
    assert proposal.speak()[0] == "pending"  # the verdict of before was on another base
    assert proposal.judge(GOOD)[0] == "success"


def test_a_base_that_is_gone_gets_no_status(propose: Propose, commit: Commit, place: Place) -> None:
    commit({"dvc.lock": lock("easy")}, "easy")
    proposal = propose(BETTER, base="easy")
    told = proposal.run()
    github = GitHub.from_environment()
    gone = proposal.now() | {"base": proposal.now()["base"] | {"ref": "gone"}}
    assert proposals.read(github, gone) is None
    assert proposal.speak(proposal.ended(told), f"{GATE} (easy)")[0] == "pending"


def test_a_verdict_of_before_the_base_moved_on_is_none(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    proposal.leave(GOOD)
    commit({"docs/a.md": "x\n"})
    state, sentence = proposal.judge()
    assert state == "pending" and sentence.startswith("main moved on while it was judged")


def test_a_run_of_an_old_head_gives_no_status_to_the_new_one(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    proposal.leave(GOOD)
    old = proposal.run()
    commit({"dvc.lock": lock("3")}, "proposal")
    assert proposal.speak(proposal.ended(old)) == ("none", "")
    proposal.judge(WORSE)
    assert proposal.speak(proposal.ended(old))[0] == "failure"  # the old one, run again


Between = Callable[[Proposal, Commit], object]
BETWEEN: dict[str, Between] = {
    "a push": lambda proposal, commit: commit({"dvc.lock": lock("3")}, "proposal"),
    "a merge into the base": lambda proposal, commit: commit({"docs/a.md": "x\n"}),
    "another base": lambda proposal, commit: proposal.patch(base="other"),
    "its end": lambda proposal, commit: proposal.patch(state="closed"),
}


@pytest.mark.parametrize("call_before", [1, 2], ids=["before the status", "after it"])
@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_what_happens_between_two_calls_leaves_no_success(
    propose: Propose, commit: Commit, monkeypatch: pytest.MonkeyPatch, between: Between, call_before: int
) -> None:
    commit({"docs/o.md": "x\n"}, "other")
    proposal = propose(BETTER)
    sha = proposal.pull["head"]["sha"]
    proposal.leave(GOOD)
    looked, real = [], proposals.again

    def again(github: GitHub, one: proposals.Proposal) -> proposals.Proposal | None:
        looked.append(one)
        if len(looked) == call_before:
            between(proposal, commit)
        return real(github, one)

    monkeypatch.setattr(proposals, "again", again)
    proposal.judge()
    statuses = call(f"{proposal.api}/commits/{sha}/status")["statuses"]
    (found,) = [status for status in statuses if status["context"] == GATE]
    assert found["state"] == "pending" and "while it was judged" in found["description"]
    assert len(looked) == call_before


def test_another_branch_with_the_same_head_is_another_proposal(propose: Propose, place: Place) -> None:
    proposal = propose(BETTER)
    git(place.origin, "branch", "twin", "proposal")
    assert proposal.judge(GOOD, head_branch="twin") == ("none", "")


@pytest.mark.parametrize(
    "change",
    [{"event": "push"}, {"path": ".github/workflows/ci.yml"}, {"head_sha": "main"}],
    ids=lambda change: next(iter(change)),
)
def test_only_runs_of_propose_for_a_pull_request_are_heard(propose: Propose, change: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"ended\.json: the run"):
        propose(BETTER).judge(GOOD, **change)


def test_without_its_token_or_github_it_says_so(propose: Propose, monkeypatch: pytest.MonkeyPatch) -> None:
    proposal = propose(BETTER)
    event = proposal.ended(proposal.run())
    monkeypatch.delenv("GITHUB_TOKEN")
    with pytest.raises(UserError, match="GITHUB_TOKEN is not set"):
        proposal.speak(event)
