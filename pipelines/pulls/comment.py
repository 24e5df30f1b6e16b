"""The report as a comment of the pull request: ours is found and updated; CML makes the first one."""

import re
from pathlib import Path

from pipelines.base.console import output, step
from pipelines.base.errors import UserError, few
from pipelines.base.files import write_text
from pipelines.base.github import BOT, GitHub
from pipelines.core.contract import Contract
from pipelines.pulls import override
from pipelines.pulls.decision import Decision
from pipelines.pulls.proposals import Proposal
from pipelines.report import report
from pipelines.report.markdown import code

MARK = "<!-- greenlight/gate -->"  # the first line of our comment, which GitHub does not show
LIMIT_CHARACTERS = 64_000  # GitHub refuses a comment above 65,536, CML's mark included
SHOWN = 10  # of what waits for a maintainer


def run(number: int, file: Path) -> None:
    """`ml ci comment`: bring our comment on a pull request up to date: the newest by the workflow's bot that
    begins with our mark. Writes `create` to the step's outputs: true where there is none, and CML has to make
    it."""
    body = file.read_text(encoding="utf-8")
    if not body.startswith(MARK) or len(body) > LIMIT_CHARACTERS:
        raise UserError(f"{file} is not the report of `ml ci verdict`")
    output("create", str(not update(GitHub.from_environment(), number, body, MARK)).lower())


def update(github: GitHub, number: int, body: str, mark: str) -> bool:
    """Bring the newest of our comments that begin with that mark up to date; False where there is none."""
    said = [c for c in github.list(f"/issues/{number}/comments") if (c["user"] or {}).get("login") == BOT]
    ours = [comment["id"] for comment in said if (comment["body"] or "").startswith(mark)]
    if ours:
        github.call("PATCH", f"/issues/comments/{ours[-1]}", {"body": body})
        step(f"#{number}: comment {ours[-1]} is up to date")
    return bool(ours)


def write(
    evidence: Path,
    contract: Contract,
    decision: Decision,
    proposal: Proposal,
    labelled: bool,
    made: bool = False,
) -> Path:
    """evidence/report.md and report.html, rendered from gate.json, with what the status adds to it on top."""
    path = report.run(contract, evidence)
    rendered = _note(decision, proposal, labelled, made) + path.read_text(encoding="utf-8").replace("\0", "")
    rendered = re.sub(r"@(?=\w)", "@\N{WORD JOINER}", rendered)  # a report notifies nobody
    text = f"{MARK}\n{rendered}"
    if len(text) > LIMIT_CHARACTERS:
        raise UserError(f"{path} has {len(text)} characters, and a comment {LIMIT_CHARACTERS} at most")
    return write_text(path, text)


def _note(decision: Decision, proposal: Proposal, labelled: bool, made: bool) -> str:
    """What is not the gate's word: a maintainer's, or that it waits for one; and who made the head."""
    sha, lines = f"`{proposal.head.sha[:12]}`", []
    if made:
        lines.append(
            f"**The judge made `dvc.lock`** of this `params.yaml`, and committed it as {sha}. Where "
            '`lint` and `tests` wait there, press "Approve and run", or close the pull request and open it '
            "again."
        )
    if decision.by:
        lines.append(f"**Let through by {decision.by}**, for {sha}, by the label `{override.LABEL}`.")
    elif decision.beyond:
        names = few([f"`{code(path)}`" for path in decision.beyond], SHOWN)
        words = f"**A maintainer decides**: it changes {names}."
        lines.append(f"{words} The label `{override.LABEL}` lets it through.")
    if labelled and decision.state != "success":
        lines.append(
            f"The label `{override.LABEL}` does not let {sha} through. It counts from a maintainer, for the "
            "commit that it was given to, and never for a FAIL: take it away, and give it again."
        )
    return "".join(f"> {line}\n\n" for line in lines)
