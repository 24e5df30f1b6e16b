"""What a proposal's status is, and why: from what it changes, the gate's verdict and a maintainer's word."""

import re
from dataclasses import dataclass
from typing import Literal

from pipelines.artifacts.verdict import Verdict
from pipelines.base.errors import few, one_line
from pipelines.base.github import GitHub
from pipelines.pulls import override, proposals, runs, scope
from pipelines.pulls.proposals import Proposal

State = Literal["success", "failure", "error", "pending"]


@dataclass(frozen=True)
class Decision:
    """The status; `by` is the maintainer without whom it would be no success, `beyond` what waits for one."""

    state: State
    sentence: str
    by: str | None = None
    beyond: tuple[str, ...] = ()


def decide(
    github: GitHub, proposal: Proposal, verdict: Verdict | Decision | None, made: bool = False
) -> Decision:
    """The status of a proposal and its sentence: PASS, or no model changed, is the only way to success.
    `verdict` is the gate's, what to say where it does not count, or None where this run has none; `made`:
    this run made the head itself. A maintainer's word lets through INCONCLUSIVE and what is not on the
    allow-list, never a FAIL or a proposal without evidence."""
    if not proposal.judged:
        where = f"{proposal.default} alone, and this goes into {proposal.base}"
        return Decision("pending", f"not judged: the gate speaks for {where}")
    if proposal.draft:
        return Decision("pending", "a draft: it is built now, and judged when it is ready for review")
    try:
        changes = proposals.changes(github, proposal)
    except proposals.Cut as cut:
        return Decision("pending", f"{cut}: make the proposal smaller")
    if not changes.paths:
        return Decision("error", "the pull request changes no file, so there is nothing to judge")
    if why := runs.behind_a_model(github, proposal):
        return Decision("failure", why)
    if isinstance(verdict, Decision):
        return verdict
    if verdict is not None:
        word, reason = verdict.verdict, one_line(verdict.reason)
        said = f"{word}: {reason}"
    elif not scope.changes_model(changes.paths):
        word, reason = "PASS", "no model changed"
        said = reason
    else:
        return _without(github, proposal, made)
    if word == "FAIL":
        return Decision("failure", said)
    beyond = tuple(scope.beyond(changes))
    if word == "PASS" and not beyond:
        return Decision("success", said)
    first = few([one_line(re.sub(r"[^ -~]", "?", path))[:60] for path in beyond], 1)  # texts of a stranger's
    if by := override.actor(github, proposal):
        why = f"it changes {first}; {reason}" if beyond else reason
        return Decision("success", f"{word}, let through by {by}: {why}", by, beyond)
    if word == "PASS":
        return Decision("pending", f"a maintainer decides: it changes {first}; {said}", None, beyond)
    return Decision("failure", said, None, beyond)


def _without(github: GitHub, proposal: Proposal, made: bool) -> Decision:
    """What is missing where a model has to be judged and this run has no verdict."""
    build, lock = runs.of_head(github, proposal.head), runs.lock_of(github, proposal)
    left = "the gate did not end; see its run, and run it again"
    if made:
        return Decision("error", f"no evidence: {left}")
    if not build.ended:
        return Decision("pending", build.words)
    if lock.waits:
        return Decision("pending", lock.words)
    if lock.by_judge:
        return Decision(
            "error", "no evidence: the judge could make no model of this params.yaml; its run says why"
        )
    if not lock.fits:
        return Decision("error", f"no evidence: {lock.words}")
    return Decision("error", f"no evidence: {build.words if build.run is None else left}")
