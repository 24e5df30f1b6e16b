"""A maintainer's label `gate:override` lets a proposal through, on one commit.

A label needs triage rights only, and survives pushes. So the workflow turns the event of the label into a
commit status, which is bound to the head that the pull request had at that moment: a later push has another
head, and no such status. The status counts only as the workflow's own bot sets it; whoever could make the bot
set it otherwise has write access, and could set `greenlight/gate` itself.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.base.github import GitHub
from pipelines.errors import UserError
from pipelines.files import read_json

LABEL = "gate:override"
CONTEXT = "greenlight/override"
BOT = "github-actions[bot]"
NEEDED = ("maintain", "admin")


def run(event: Path) -> int:
    """`ml override`: write on the head of a pull request whether its label lets it through, and by whom.

    `event` is the payload of `pull_request_target`, labeled or unlabeled. A label counts from a person with
    the role maintain or admin; from anybody else the status says why not. Returns 0 in each case.
    """
    payload = read_json(event)
    action, login = _checked(event, payload)
    github, number = GitHub.from_environment(), int(payload["pull_request"]["number"])
    if github.call("GET", f"/pulls/{number}")["state"] != "open":
        print(f"#{number} is closed: what let it through stays on record.")
        return 0
    if (action, login) != (newest := _newest(github, number)):
        print(f"#{number}: the label was {newest[0]} by {newest[1]} since; the run of that event decides.")
        return 0
    if action == "unlabeled":
        state, sentence = "failure", f"#{number}: the label was taken away by {login}"
    elif payload["sender"].get("type") != "User" or not _may(github, login):
        state, sentence = "failure", f"#{number}: {login} may not let it through: maintainers may"
    else:
        state, sentence = "success", _given(number, login)
    github.status(payload["pull_request"]["head"]["sha"], CONTEXT, state, sentence, None)
    return 0


def actor(github: GitHub, pull: Mapping[str, Any]) -> str | None:
    """Who let this pull request through on the head that it has now; None where nobody did."""
    return recorded(github, pull) if labelled(pull) else None


def labelled(pull: Mapping[str, Any]) -> bool:
    """Whether the label is on the pull request, whoever gave it, for whatever head."""
    return any(label["name"].casefold() == LABEL for label in pull["labels"])


def recorded(github: GitHub, pull: Mapping[str, Any]) -> str | None:
    """Who let the head of this pull request through, by the bot's newest status on it, label or not."""
    for status in github.list(f"/commits/{pull['head']['sha']}/statuses"):  # the newest first
        if status["context"] == CONTEXT and (status["creator"] or {}).get("login") == BOT:
            given = re.fullmatch(_given(pull["number"], r"([\w-]+)"), status["description"] or "")
            return given[1] if given and status["state"] == "success" else None
    return None


def _given(number: int, login: str) -> str:
    return f"#{number} is let through by {login}"


def _checked(event: Path, payload: Any) -> tuple[str, str]:
    """What happened to the label, and who did it."""
    try:
        action, label, login = payload["action"], payload["label"]["name"], payload["sender"]["login"]
        sha = payload["pull_request"]["head"]["sha"]
    except (KeyError, TypeError):
        raise UserError(f"{event} is not the payload of a pull_request_target event with a label") from None
    if action not in ("labeled", "unlabeled") or label.casefold() != LABEL:
        raise UserError(f"{event}: {label} was {action}, and only the label {LABEL} lets a proposal through")
    if not re.fullmatch(r"[0-9a-f]{40}", sha):
        raise UserError(f"{event}: pull_request.head.sha is not a commit's SHA")
    return action, login


def _newest(github: GitHub, number: int) -> tuple[str, str]:
    """The last thing that happened to the label, and by whom: runs of events may end in another order."""
    found = ("untouched", "nobody")
    for event in github.list(f"/issues/{number}/events"):  # the oldest first
        if event["event"] in ("labeled", "unlabeled") and event["label"]["name"].casefold() == LABEL:
            found = event["event"], (event["actor"] or {}).get("login", "nobody")
    return found


def _may(github: GitHub, login: str) -> bool:
    """Whether a person has the role maintain or more. `permission` will not do: it calls maintain write.

    A role of an organization's own has another name, and the rights of the role that it extends.
    """
    role = github.call("GET", f"/collaborators/{login}/permission", missing={"role_name": "none"})
    rights = (role.get("user") or {}).get("permissions") or {}
    return role["role_name"] in NEEDED or rights.get("maintain") is True
