"""`ml ci comment`: the report as a comment; ours is found, on whichever page, and nobody else's."""

import pytest

from pipelines.base.errors import UserError
from pipelines.local.github import call
from pipelines.pulls import comment
from tests.workflows.proposal import BETTER, GOOD, PASS, Proposal, Propose


def judged(propose: Propose) -> Proposal:
    proposal = propose(BETTER)
    proposal.judge(GOOD)
    return proposal


def run(proposal: Proposal) -> str:
    """Whether CML has to make the comment."""
    proposal.output.write_text("")
    comment.run(proposal.pull["number"], proposal.folder / "report.md")
    return proposal.outputs()["create"]


def said(proposal: Proposal, body: str, token: str = "local-token") -> None:
    call(f"{proposal.api}/issues/{proposal.pull['number']}/comments", "POST", {"body": body}, token=token)


def bodies(proposal: Proposal) -> list[str]:
    url = f"{proposal.api}/issues/{proposal.pull['number']}/comments?per_page=100"
    return [one["body"] for page in (1, 2) for one in call(f"{url}&page={page}")]


def test_the_first_comment_is_for_cml_to_make(propose: Propose) -> None:
    proposal = judged(propose)
    assert run(proposal) == "true" and bodies(proposal) == []


def test_ours_is_brought_up_to_date_beyond_the_first_page(propose: Propose) -> None:
    proposal = judged(propose)
    for number in range(105):
        said(proposal, f"{number}", "user:somebody")
    said(proposal, f"{comment.MARK}\nold\n\n![](https://cml.dev/watermark.png)")
    assert run(proposal) == "false"
    assert bodies(proposal)[-1] == proposal.report() and len(bodies(proposal)) == 106


def test_a_comment_with_our_mark_by_somebody_else_stays_theirs(propose: Propose) -> None:
    proposal = judged(propose)
    said(proposal, f"{comment.MARK}\nforged", "user:eve")
    said(proposal, "another workflow's", "local-token")
    assert run(proposal) == "true"
    assert bodies(proposal) == [f"{comment.MARK}\nforged", "another workflow's"]


def test_what_is_no_report_of_ours_is_not_posted(propose: Propose) -> None:
    proposal = judged(propose)
    report = proposal.folder / "report.md"
    for text in ("# Report\n", comment.MARK + "x" * comment.LIMIT_CHARACTERS):
        report.write_text(text)
        with pytest.raises(UserError, match="is not the report"):
            run(proposal)


def test_a_report_notifies_nobody(propose: Propose) -> None:
    proposal = propose(BETTER)
    hostile = PASS | {"rule": "@everyone", "sentence": "as good as @a/team \0 says"}
    proposal.judge({"verdict": "PASS", "findings": [hostile]})
    report = proposal.report()
    assert report.startswith(comment.MARK) and "everyone" in report
    assert "@e" not in report and "@a" not in report and "\0" not in report
