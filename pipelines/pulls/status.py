"""Say on a proposal's commit what the gate decided: the commit status that the rules of the branch demand. It
runs with write permission, so it runs the default branch's code only, and believes the typed verdict that the
gate left in this very run, for exactly the head and the base that the pull request has now."""

import os
from dataclasses import replace
from pathlib import Path

from pipelines.artifacts.verdict import Verdict
from pipelines.base.console import output
from pipelines.base.errors import UserError, one_line
from pipelines.base.github import GitHub
from pipelines.core import tasks
from pipelines.core.contract import Contract
from pipelines.pulls import comment, override, proposals, runs
from pipelines.pulls.decision import Decision, decide
from pipelines.pulls.proposals import Proposal


def run(event: Path, evidence: Path, contract: Contract, made: str = "") -> None:
    """`ml ci verdict`: set the status of an event's head, for each base that it is proposed to. `evidence`
    holds the gate.json of this run, or none where there was nothing to judge or the gate did not end; `made`
    is the commit that this run made on top of the event's head, which is the head now. What was said before
    does not count: whatever came first, the verdict or a maintainer's label, the status comes out the same.
    Writes `number` and `report` (is evidence/report.md to be posted?) to the step's outputs."""
    head, github = runs.head_of(event), GitHub.from_environment()
    head = replace(head, sha=made or head.sha)
    found = proposals.find(github, head)
    if not found:
        print(f"No open pull request has the head {head.sha[:12]}: it was closed or moved on.")
    number, written = "", False  # of a group's report nothing is posted
    for proposal in found:
        verdict = read(evidence, proposal, contract) if proposal.judged else None
        decision = speak(github, proposal, decide(github, proposal, verdict, bool(made)))
        if isinstance(verdict, Verdict):
            number, written = str(proposal.number) if not proposal.proposed else "", True
            labelled = override.labelled(github, proposal.number)
            comment.write(evidence, contract, decision, proposal, labelled, bool(made))
    output("number", number)
    output("report", str(written).lower())


def speak(github: GitHub, proposal: Proposal, decision: Decision) -> Decision:
    """Set the status while head and base are still what was judged, and look once more after it: a push, a
    merge into the base or another base in between makes it pending, and what follows is judged anew."""
    if (now := proposals.again(github, proposal)) != proposal:
        decision = replace(decision, state="pending", sentence=_moved(proposal, now), by=None)
    page = runs.here()
    github.status(proposal.head.sha, proposal.context, decision.state, one_line(decision.sentence), page)
    if decision.state == "success" and (now := proposals.again(github, proposal)) != proposal:
        decision = replace(decision, state="pending", sentence=_moved(proposal, now), by=None)
        github.status(proposal.head.sha, proposal.context, "pending", decision.sentence, page)
    return decision


def read(evidence: Path, proposal: Proposal, contract: Contract) -> Verdict | Decision | None:
    """The verdict in `evidence`, what to say where it does not count, or None where there is none."""
    if not os.path.lexists(evidence / Verdict.NAME):
        return None
    try:
        found = Verdict.read(evidence).of(tasks.of(contract))
    except UserError as error:
        return Decision("error", f"no evidence: {error}")
    if (found.head, found.base) != (proposal.head.sha, proposal.base_sha):
        return Decision("pending", _moved(proposal, proposal))
    return found


def _moved(proposal: Proposal, now: Proposal | None) -> str:
    """Why what was judged is no longer what would be merged."""
    if now is None and proposal.proposed:
        return "the merge queue has no longer this group: it makes another one"
    if now is None:
        return "it was closed while it was judged: open it again and push to it"
    if now.draft and not proposal.draft:
        return "it became a draft while it was judged: it is judged again when it is ready for review"
    what = "its head or its base" if now.head != proposal.head or now.base != proposal.base else proposal.base
    return f"{what} moved on while it was judged: bring the branch up to date, and it is judged again"
