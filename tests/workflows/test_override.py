"""`gate:override`: what a maintainer's label lets through, for which commit; what others can do with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.local.github import call
from pipelines.pulls import override
from pipelines.pulls.proposals import OVERRIDE
from tests.workflows.conftest import Commit
from tests.workflows.proposal import BETTER, GOOD, UNDECIDED, WORSE, Propose, lock

LET_THROUGH = ("success", "INCONCLUSIVE, let through by ada: The test window has 7 days, not 28")
STAYS = ("failure", "INCONCLUSIVE: The test window has 7 days, not 28")


@pytest.mark.parametrize("role", ["maintain", "admin"])
def test_a_maintainers_label_lets_an_inconclusive_proposal_through(propose: Propose, role: str) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", role)
    assert proposal.judge(UNDECIDED) == STAYS
    said = f"#{proposal.pull['number']} onto {proposal.tip()} is let through by ada"
    assert proposal.override(proposal.label("ada")) == ("success", said)
    assert proposal.speak() == LET_THROUGH
    assert f"\n> **Let through by ada**, for `{proposal.pull['head']['sha'][:12]}`" in proposal.report()


def test_it_does_not_matter_whether_the_label_or_the_verdict_comes_first(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    assert proposal.judge(UNDECIDED) == LET_THROUGH


@pytest.mark.parametrize("role", ["triage", "read", "write"])
def test_a_label_from_anybody_else_is_refused_with_a_sentence(propose: Propose, role: str) -> None:
    proposal = propose(BETTER)
    proposal.role("eve", role)
    state, sentence = proposal.override(proposal.label("eve")) or ("", "")
    assert state == "failure"
    assert sentence.endswith("eve may not let it through: maintainers may")
    assert proposal.judge(UNDECIDED) == STAYS
    assert "does not let" in proposal.report()


def test_a_role_of_the_organizations_own_counts_by_its_rights(
    propose: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = propose(BETTER)
    answer = {"permission": "write", "role_name": "release-captain", "user": {"permissions": {}}}
    real = override.GitHub.call

    def told(github: Any, method: str, path: str, *more: Any, **named: Any) -> Any:
        return answer if path.startswith("/collaborators/") else real(github, method, path, *more, **named)

    monkeypatch.setattr(override.GitHub, "call", told)
    assert (proposal.override(proposal.label("ada")) or "")[0] == "failure"
    proposal.unlabel("ada")
    answer["user"] = {"permissions": {"push": True, "maintain": True}}
    assert (proposal.override(proposal.label("ada")) or "")[0] == "success"


def test_a_bot_is_no_maintainer(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("helper[bot]", "admin")
    assert (proposal.override(proposal.label("helper[bot]")) or "")[0] == "failure"


@pytest.mark.parametrize("first", ["label", "verdict"])
def test_a_fail_stays_a_fail(propose: Propose, first: str) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "admin")
    if first == "verdict":
        proposal.judge(WORSE)
    proposal.override(proposal.label("ada"))
    assert proposal.judge(WORSE) == ("failure", "FAIL: log-loss is worse by 0.02")
    assert "never for a FAIL" in proposal.report()


def test_no_evidence_stays_an_error(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "admin")
    proposal.override(proposal.label("ada"))
    assert proposal.judge(conclusion="failure")[0] == "error"


def test_a_later_push_is_not_let_through_by_the_label_of_before(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    event = proposal.label("ada")
    proposal.override(event)
    commit({"dvc.lock": lock("3")}, "proposal")
    assert proposal.judge(UNDECIDED) == STAYS
    assert proposal.override(event) is None  # its run, run again, still speaks of the old head
    assert proposal.judge(UNDECIDED) == STAYS
    proposal.override(proposal.unlabel("ada"))
    proposal.override(proposal.label("ada"))
    assert proposal.judge(UNDECIDED) == LET_THROUGH


def test_a_push_before_the_labels_run_has_ended_takes_nothing_from_it(
    propose: Propose, commit: Commit
) -> None:
    """The event names the head that it was given to; a slow run must not give it to another one."""
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    event = proposal.label("ada")
    commit({"dvc.lock": lock("3")}, "proposal")
    assert proposal.override(event) is None
    assert proposal.judge(UNDECIDED) == STAYS


def test_taking_the_label_away_takes_back_what_it_let_through(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    assert proposal.judge(UNDECIDED) == LET_THROUGH
    event = proposal.unlabel("eve")  # anybody's caution counts
    assert proposal.speak() == STAYS  # also while that event's run waits
    assert (proposal.override(event) or "")[0] == "failure"
    assert proposal.speak() == STAYS


def test_a_label_given_again_by_somebody_else_does_not_bring_it_back(propose: Propose) -> None:
    """Runs end in any order: the one of an older event writes nothing."""
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.role("eve", "triage")
    given = proposal.label("ada")
    withdrawn = proposal.unlabel("ada")
    again = proposal.label("eve")
    for event in (again, given, withdrawn, given):
        proposal.override(event)
    assert proposal.judge(UNDECIDED) == STAYS


@pytest.mark.parametrize("login", ["eve", "github-actions"])
def test_a_status_that_somebody_else_made_lets_nothing_through(propose: Propose, login: str) -> None:
    proposal = propose(BETTER)
    proposal.role("eve", "write")
    sha, number = proposal.pull["head"]["sha"], proposal.pull["number"]
    proposal.label("eve")
    forged = {
        "state": "success",
        "context": OVERRIDE,
        "description": f"#{number} onto {proposal.tip()} is let through by ada",
    }
    call(f"{proposal.api}/statuses/{sha}", "POST", forged, token=f"user:{login}")
    assert proposal.judge(UNDECIDED) == STAYS
    call(f"{proposal.api}/statuses/{sha}", "POST", forged)  # negative control: the bot's own counts
    assert proposal.speak() == LET_THROUGH


def test_a_status_of_somebody_else_takes_nothing_away_either(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    body = {"state": "failure", "context": OVERRIDE, "description": "no"}
    call(f"{proposal.api}/statuses/{proposal.pull['head']['sha']}", "POST", body, token="user:eve")
    assert proposal.judge(UNDECIDED) == LET_THROUGH


def test_another_pull_request_with_the_same_head_is_not_let_through(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.role("eve", "triage")
    proposal.override(proposal.label("ada"))
    call(f"{proposal.api}/pulls/{proposal.pull['number']}", "PATCH", {"state": "closed"})
    again = call(f"{proposal.api}/pulls", "POST", {"title": "x", "head": "proposal", "base": "main"})
    other = type(proposal)(proposal.api, again, proposal.state, proposal.folder, proposal.output)
    other.label("eve")
    assert other.judge(UNDECIDED) == STAYS


def test_another_label_lets_nothing_through(propose: Propose, tmp_path: Path) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    with pytest.raises(UserError, match="only the label gate:override"):
        override.run(proposal.label("ada", "gate:overridden"))
    (tmp_path / "other.json").write_text(json.dumps({"action": "labeled"}))
    with pytest.raises(UserError, match=r"other\.json is not the payload"):
        override.run(tmp_path / "other.json")
    assert proposal.judge(UNDECIDED) == STAYS


@pytest.mark.parametrize(
    ("files", "gate", "sentence"),
    [
        ({"dvc.yaml": "x"}, GOOD, "PASS, let through by ada: it changes dvc.yaml; all 1 rules hold"),
        (
            {"dvc.yaml": "x"},
            UNDECIDED,
            "INCONCLUSIVE, let through by ada: it changes dvc.yaml; The test window has 7 days, not 28",
        ),
        (
            {".github/workflows/ci.yml": "x"},
            None,
            "PASS, let through by ada: it changes .github/workflows/ci.yml; no model changed",
        ),
    ],
    ids=["PASS", "INCONCLUSIVE", "no model"],
)
def test_the_label_lets_through_what_waits_for_a_maintainer(
    propose: Propose, files: dict[str, str | None], gate: Any, sentence: str
) -> None:
    proposal = propose(BETTER | files if gate else files)
    proposal.role("ada", "maintain")
    assert proposal.judge(gate)[0] in ("pending", "failure")
    proposal.override(proposal.label("ada"))
    assert proposal.speak() == ("success", sentence)


# --- onto which base ---------------------------------------------------------------------------------------


def test_a_word_given_while_the_base_was_another_says_nothing_onto_this_one(
    propose: Propose, commit: Commit
) -> None:
    """Also where both branches are the same commit."""
    commit({}, "easy")
    proposal = propose(BETTER, base="easy")
    proposal.role("ada", "maintain")
    slow = proposal.label("ada")
    state, sentence = proposal.override(slow) or ("", "")
    assert state == "failure" and sentence.endswith("the label counts for main only")
    proposal.patch(base="main")
    assert proposal.judge(UNDECIDED) == STAYS
    assert (proposal.override(slow) or "")[0] == "failure"  # its run, run late or again
    assert proposal.speak() == STAYS
    proposal.unlabel("ada")
    proposal.override(proposal.label("ada"))
    assert proposal.speak() == LET_THROUGH


def test_a_word_ends_when_the_base_moves_on(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    event = proposal.label("ada")
    proposal.override(event)
    commit({"docs/a.md": "x\n"})
    assert proposal.judge(UNDECIDED) == STAYS


def test_a_run_again_of_the_label_is_no_new_word(
    propose: Propose, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write can run it again, after the base has moved on."""
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    event = proposal.label("ada")
    monkeypatch.setenv("GITHUB_RUN_ATTEMPT", "2")
    state, sentence = proposal.override(event) or ("", "")
    assert state == "failure" and sentence.endswith("give the label again")


def test_events_that_hide_the_next_let_nothing_through(
    propose: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub lists so many and no more: whether the label was taken away since is among the others."""
    real = override.GitHub.list
    monkeypatch.setattr(
        override.GitHub,
        "list",
        lambda github, path, *more: real(github, path, *more, most=3 if path.endswith("/events") else 3000),
    )
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    given = proposal.label("ada")
    assert (proposal.override(given) or "")[0] == "success"
    for name in ("noise", "more noise", "and more"):
        proposal.label("eve", name)
    state, sentence = proposal.override(given) or ("", "")
    assert state == "failure" and "more events than GitHub lists" in sentence
    assert proposal.judge(UNDECIDED) == STAYS


def test_what_let_a_merged_proposal_through_stays_on_record(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    proposal.judge(UNDECIDED)
    sha = proposal.pull["head"]["sha"]
    call(f"{proposal.api}/pulls/{proposal.pull['number']}/merge", "PUT", {"sha": sha})
    assert (proposal.override(proposal.unlabel("eve")) or "")[0] == "success"


def test_an_override_that_a_pass_does_not_need_is_not_in_its_sentence(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    assert proposal.judge(GOOD) == ("success", "PASS: all 1 rules hold")
    assert "let" not in proposal.report().split("##")[0]
