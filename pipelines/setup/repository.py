"""The repository's own settings: its default branch, merges, the label, what Actions may do, variables."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.base.errors import UserError
from pipelines.base.github import Declined, GitHub, NotFound
from pipelines.pulls.override import LABEL
from pipelines.setup.refusals import reason
from pipelines.setup.setting import Found, Setting

COLOUR = "0e8a16"
MEANING = "A maintainer lets this commit through (docs/proposals.md)"
WORKFLOWS = "/actions/permissions/workflow"


def about(hub: GitHub) -> dict[str, Any]:
    """What GitHub says of the repository. UserError where there is none, or the token is nobody's."""
    try:
        return dict(hub.call("GET", ""))
    except NotFound:
        way_out = "give --repository, or a token that may see it"
        raise UserError(f"GitHub has no repository {hub.repository} at {hub.api}: {way_out}") from None
    except Declined as error:
        if error.status != 401:
            raise
        raise UserError(reason(error)) from None


def settings(
    hub: GitHub, about: Mapping[str, Any], checkout: Path, branch: str, variables: Mapping[str, str]
) -> list[Setting]:
    """`about`: what GitHub says of the repository; `branch`: what its default branch must be; `variables`: as
    `Wanted`. Those that are not asked for stay as they are."""
    known = named(checkout)
    if unknown := [name for name in variables if name not in known]:
        raise UserError(f"no workflow asks the variable {unknown[0]}: they ask {', '.join(sorted(known))}")
    return [
        Setting("default branch", lambda: default_branch(hub, about, branch)),
        Setting("merge commits", lambda: merge_commits(hub, about)),
        Setting(f"label {LABEL}", lambda: label(hub)),
        Setting("Actions may open pull requests", lambda: pull_requests(hub)),
        *(
            Setting(f"variable {name}", lambda name=name, value=value: variable(hub, name, value))  # type: ignore[misc]
            for name, value in variables.items()
        ),
        Setting("other variables" if variables else "variables", lambda: others(hub, known - set(variables))),
    ]


def default_branch(hub: GitHub, about: Mapping[str, Any], branch: str) -> Found:
    if about["default_branch"] == branch:
        return Found(True, branch)

    def change() -> None:
        hub.call("PATCH", "", {"default_branch": branch})

    return Found(False, str(about["default_branch"]), f"make {branch} the default branch", change)


def merge_commits(hub: GitHub, about: Mapping[str, Any]) -> Found:
    """The ruleset allows no other way to merge: what was judged is what is merged."""
    if (allowed := about.get("allow_merge_commit")) is None:
        return Found(None, "only an administrator may see it")
    would = "allow merge commits"
    return Found(
        bool(allowed),
        "allowed" if allowed else "not allowed, so nothing can merge",
        would,
        lambda: hub.call("PATCH", "", {"allow_merge_commit": True}),
    )


def label(hub: GitHub) -> Found:
    if hub.call("GET", f"/labels/{quote(LABEL)}", missing={}):
        return Found(True, "is there")
    body = {"name": LABEL, "color": COLOUR, "description": MEANING}
    return Found(False, "is missing", "create it", lambda: hub.call("POST", "/labels", body))


def pull_requests(hub: GitHub) -> Found:
    """For the drift check's proposals. The token's default rights stay what they are."""
    now = hub.call("GET", WORKFLOWS)
    if now["can_approve_pull_request_reviews"]:
        return Found(True, "allowed")
    body = {
        "default_workflow_permissions": now["default_workflow_permissions"],
        "can_approve_pull_request_reviews": True,
    }
    says = "not allowed, so the drift check cannot propose retraining"
    return Found(False, says, "allow it", lambda: hub.call("PUT", WORKFLOWS, body))


def variable(hub: GitHub, name: str, value: str) -> Found:
    path = f"/actions/variables/{name}"
    now = hub.call("GET", path, missing={}).get("value", "")
    says = now or "not set"
    if now == value:
        return Found(True, says)
    if not value:
        return Found(False, says, "remove it", lambda: hub.call("DELETE", path))
    body = {"name": name, "value": value}
    if now:
        return Found(False, says, f"make it {value}", lambda: hub.call("PATCH", path, body))
    return Found(False, says, f"make it {value}", lambda: hub.call("POST", "/actions/variables", body))


def others(hub: GitHub, names: set[str]) -> Found:
    """What is set of what the workflows ask; nothing must be."""
    has = [one for one in hub.list("/actions/variables", "variables") if one["name"] in names]
    says = ", ".join(f"{one['name']}={one['value']}" for one in has)
    return Found(True, says or "none is set", matters=False)


def named(checkout: Path) -> set[str]:
    """The variables that the workflow files ask."""
    files = sorted((checkout / ".github/workflows").glob("*.yml"))
    return {name for file in files for name in re.findall(r"\bvars\.(\w+)", file.read_text(encoding="utf-8"))}
