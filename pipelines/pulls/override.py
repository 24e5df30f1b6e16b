"""A maintainer's label `gate:override` lets a proposal through, on one commit and onto one.

A label needs triage rights only, and survives pushes and a change of base. So the workflow turns the event of
the label into a commit status of the head that the pull request had at that moment, whose text names the
newest commit of the base: another head has no such status, and onto another base it says nothing. The status
counts only as the workflow's own bot sets it; whoever could make the bot set it otherwise has write access,
and could set `greenlight/gate` itself (docs/security.md).
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.files import read_json
from pipelines.base.github import BOT, GitHub, TooMany
from pipelines.pulls import proposals
from pipelines.pulls.proposals import OVERRIDE, Head, Proposal

LABEL = "gate:override"
NEEDED = ("maintain", "admin")


def run(event: Path) -> None:
    """`ml ci override`: write on the head of a pull request whether its label lets it through, and by whom.

    `event` is the payload of `pull_request_target`, labeled or unlabeled. A label counts from a person with
    the role maintain or admin, for the head and the base that the event names, while the pull request still
    has both, and once: who runs an old run again is not who gave the label."""
    payload = read_json(event)
    action, login, number, head, base = _checked(event, payload)
    github = GitHub.from_environment()
    pull = github.call("GET", f"/pulls/{number}")
    if pull["state"] != "open":
        print(f"#{number} is closed: what let it through stays on record.")
        return
    try:
        events = github.list(f"/issues/{number}/events")  # the oldest first
    except TooMany:
        events = None
    if events is not None and (action, login) != (last := _newest(events)):
        print(f"#{number}: the label was {last[0]} by {last[1]} since; the run of that event decides.")
        return
    now, state = proposals.read(github, pull), "failure"
    if action == "unlabeled":
        sentence = f"#{number}: the label was taken away by {login}"
    elif events is None:
        sentence = f"#{number} has more events than GitHub lists: open another pull request"
    elif os.environ.get("GITHUB_RUN_ATTEMPT", "1") != "1":
        sentence = f"#{number}: a run again is not a maintainer's word: give the label again"
    elif now is None or (now.head, now.base) != (head, base):
        sentence = f"#{number} got another head or base since: give the label again"
    elif not now.judged:
        sentence = f"#{number}: the label counts for {now.default} only"
    elif payload["sender"].get("type") != "User" or not _may(github, login):
        sentence = f"#{number}: {login} may not let it through: maintainers may"
    else:
        state, sentence = "success", _given(number, now.base_sha, login)
    github.status(head.sha, OVERRIDE, state, sentence, None)


def actor(github: GitHub, proposal: Proposal) -> str | None:
    """Who let this head through onto this base; None where nobody did, or the label is gone."""
    number, head = proposal.number, proposal.head.sha
    if proposal.proposed:  # the word was given to the pull request's head onto what this merged it into
        both = {proposal.base_sha, proposal.proposed.sha}
        made_of = github.call("GET", f"/git/commits/{head}")["parents"]
        head = proposal.proposed.sha if {parent["sha"] for parent in made_of} == both else ""
    return head and recorded(github, number, head, proposal.base_sha) if labelled(github, number) else None


def labelled(github: GitHub, number: int) -> bool:
    """Whether the label is on the pull request, whoever gave it, for whatever head."""
    pull = github.call("GET", f"/pulls/{number}")
    return any(label["name"].casefold() == LABEL for label in pull["labels"])


def recorded(github: GitHub, number: int, head: str, base: str | None = None) -> str | None:
    """Who let a head through, by the bot's newest status on it, label or not; `base`: onto this commit."""
    status = newest(github, head, OVERRIDE)
    if status is None or status["state"] != "success":
        return None
    given = re.fullmatch(_given(number, base or "[0-9a-f]{40}", r"([\w-]+)"), status["description"] or "")
    return given[1] if given else None


def newest(github: GitHub, head: str, context: str) -> Mapping[str, Any] | None:
    """The bot's newest status of a commit under a name."""
    listed = github.list(f"/commits/{head}/statuses")  # the newest first
    ours = (s for s in listed if s["context"] == context and (s["creator"] or {}).get("login") == BOT)
    return next(ours, None)


def _given(number: int, base: str, login: str) -> str:
    return f"#{number} onto {base} is let through by {login}"


def _checked(event: Path, payload: Any) -> tuple[str, str, int, Head, str]:
    """What happened to the label, who did it, to which pull request, with which head and base."""
    try:
        action, label, login = payload["action"], payload["label"]["name"], payload["sender"]["login"]
        pull = payload["pull_request"]
        number, head, base = int(pull["number"]), Head.of_pull(pull), pull["base"]["ref"]
    except (KeyError, TypeError):
        raise UserError(f"{event} is not the payload of a pull_request_target event with a label") from None
    if action not in ("labeled", "unlabeled") or label.casefold() != LABEL:
        raise UserError(f"{event}: {label} was {action}, and only the label {LABEL} lets a proposal through")
    if not re.fullmatch(r"[0-9a-f]{40}", head.sha):
        raise UserError(f"{event}: pull_request.head.sha is not a commit's SHA")
    return action, login, number, head, base


def _newest(events: list[dict[str, Any]]) -> tuple[str, str]:
    """The last thing that happened to the label, and by whom: runs of events may end in another order."""
    both = (event for event in reversed(events) if event["event"] in ("labeled", "unlabeled"))
    last = next((event for event in both if event["label"]["name"].casefold() == LABEL), None)
    return (last["event"], (last["actor"] or {}).get("login", "nobody")) if last else ("untouched", "nobody")


def _may(github: GitHub, login: str) -> bool:
    """Whether a person has the role maintain or more. `permission` will not do: it calls maintain write. A
    role of an organization's own has another name, and the rights of the role that it extends."""
    role = github.call("GET", f"/collaborators/{login}/permission", missing={"role_name": "none"})
    rights = (role.get("user") or {}).get("permissions") or {}
    return role["role_name"] in NEEDED or rights.get("maintain") is True
