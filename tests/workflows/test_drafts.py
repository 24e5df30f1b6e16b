"""A draft is built, and judged when it is ready."""

import pytest

from pipelines.base.errors import UserError
from pipelines.base.github import GitHub
from pipelines.local.github import call
from pipelines.pulls import proposals
from tests.workflows.proposal import BETTER, GOOD, Propose
from tests.workflows.test_runs import ask

WAITS = ("pending", "a draft: it is built now, and judged when it is ready for review")


def test_a_draft_waits_and_its_candidate_is_judged_when_it_is_ready(propose: Propose) -> None:
    proposal = propose(BETTER)
    drafted = proposal.draft(True)
    told = proposal.ended(proposal.run())
    assert ask(proposal, told)["run"] == ask(proposal, drafted)["run"] == ""
    assert proposal.speak(told) == proposal.speak(drafted) == WAITS
    ready = proposal.draft(False)
    assert ask(proposal, ready)["run"] == "1"  # which was built before: nothing is built again
    proposal.leave(GOOD)
    assert proposal.speak(ready)[0] == "success"
    assert proposal.speak(proposal.draft(True)) == WAITS  # and back


def test_no_verdict_makes_a_draft_green(propose: Propose, monkeypatch: pytest.MonkeyPatch) -> None:
    proposal = propose(BETTER)
    proposal.leave(GOOD)
    real = proposals.again

    def again(github: GitHub, one: proposals.Proposal) -> proposals.Proposal | None:
        proposal.draft(True)  # while it is judged
        return real(github, one)

    monkeypatch.setattr(proposals, "again", again)
    state, sentence = proposal.judge()
    assert state == "pending" and sentence.startswith("it became a draft while it was judged")


def test_a_draft_does_not_merge(propose: Propose) -> None:
    proposal = propose({"docs/a.md": "x\n"})
    proposal.judge()
    proposal.draft(True)
    with pytest.raises(UserError, match="405 Pull Request is still a draft"):
        call(f"{proposal.api}/pulls/{proposal.pull['number']}/merge", "PUT", {})
    proposal.draft(False)
    assert call(f"{proposal.api}/pulls/{proposal.pull['number']}/merge", "PUT", {})["merged"]
