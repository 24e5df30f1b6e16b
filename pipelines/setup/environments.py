"""GitHub's environments: only the default branch deploys there, and people say when production moves."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.base.errors import UserError
from pipelines.base.github import GitHub
from pipelines.registry.signer import VARIABLE
from pipelines.setup.setting import Found, Setting

STAGING, PRODUCTION = "staging", "production"
NO_ENVIRONMENTS = (
    "private repository without Pro: there are no environments, so no secret is kept from another branch's "
    "workflows"
)
NO_REVIEWERS = "private repository without Enterprise: nobody is asked before {} runs"
MOST = 6  # reviewers of an environment
Environment = Mapping[str, Any]


def settings(hub: GitHub, names: list[str], branch: str, reviewers: tuple[str, ...]) -> list[Setting]:
    """Each of `names` for the branch alone, and all but staging with these reviewers."""
    made = [
        Setting(title(name), lambda name=name: look(hub, name, branch), NO_ENVIRONMENTS)  # type: ignore[misc]
        for name in names
    ]
    asked = [
        Setting(
            f"reviewers of {name}",
            lambda name=name: reviewed(hub, name, reviewers),  # type: ignore[misc]
            NO_REVIEWERS.format(name),
            after=(title(name),),
        )
        for name in names
        if name != STAGING
    ]
    return made + asked


def title(name: str) -> str:
    """What the setting of an environment is called."""
    return f"environment {name}"


def named(checkout: Path) -> list[str]:
    """Staging, production, and what other jobs name that are given the ledger's key. An environment of
    something else, such as that of Terraform's plans or of GitHub's Pages, has rules of its own."""
    found = dict.fromkeys((STAGING, PRODUCTION))
    for file in sorted((checkout / ".github/workflows").glob("*.yml")):
        try:
            jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values()
        except (yaml.YAMLError, OSError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file} is not a workflow ({' '.join(str(error).split())[:80]})") from None
        for job in jobs:
            said = job.get("environment")
            name = str((said.get("name") if isinstance(said, dict) else said) or "")
            if re.fullmatch(r"[\w-]+", name) and f"secrets.{VARIABLE}" in str(job):
                found[name] = None
    return list(found)


def look(hub: GitHub, name: str, branch: str) -> Found:
    """Whether the branch alone may deploy there."""
    path = f"/environments/{name}"
    now: Environment = hub.call("GET", path, missing={})
    custom = bool((now.get("deployment_branch_policy") or {}).get("custom_branch_policies"))
    listed = hub.list(f"{path}/deployment-branch-policies", "branch_policies") if custom else []
    others = [one for one in listed if (one["name"], one.get("type", "branch")) != (branch, "branch")]
    if custom and not others and listed:
        return Found(True, f"for {branch} alone")
    if not now:  # where the plan has no rulesets it has no environments either, and this says so
        hub.list("/rulesets")

    def change() -> None:
        if not custom:
            policy = {"protected_branches": False, "custom_branch_policies": True}
            hub.call("PUT", path, kept(now) | {"deployment_branch_policy": policy})
        if len(others) == len(listed):
            hub.call("POST", f"{path}/deployment-branch-policies", {"name": branch})
        for one in others:
            hub.call("DELETE", f"{path}/deployment-branch-policies/{one['id']}")

    from_elsewhere = ", ".join(one["name"] for one in others) or ("any branch" if not custom else "none")
    says = f"deploys from {from_elsewhere}" if now else "is missing"
    return Found(
        False, says, f"{'let' if now else 'create it, for'} {branch} alone{' deploy' if now else ''}", change
    )


def reviewed(hub: GitHub, name: str, wanted: tuple[str, ...]) -> Found:
    """Who must agree before a job of it runs."""
    path = f"/environments/{name}"
    now: Environment = hub.call("GET", path, missing={})
    asked = [one for rule in now.get("protection_rules", ()) for one in rule.get("reviewers", ())]
    names = [one["reviewer"].get("login") or one["reviewer"].get("slug") for one in asked]
    has = {(one["type"], one["reviewer"]["id"]) for one in asked}
    if not wanted:
        says = ", ".join(names) or "nobody is asked"
        return Found(bool(has), says, way_out="ml init --reviewers @NAME", matters=False)
    if len(wanted) > MOST:
        raise UserError(f"--reviewers names {len(wanted)}, and GitHub takes {MOST}: name a team")
    ids = {person(hub, login)[0] for login in wanted}
    if has == ids:
        return Found(True, ", ".join(names))
    told = [{"type": kind, "id": number} for kind, number in sorted(ids)]
    body = kept(now) | {"reviewers": told}
    says = ", ".join(names) or "nobody is asked"
    return Found(False, says, f"ask {', '.join(wanted)}", lambda: hub.call("PUT", path, body))


def kept(now: Environment) -> dict[str, Any]:
    """What an update must say again, else GitHub drops it; nothing that is not set, since a plan that does
    not offer it refuses even an empty one, and an older server of one's own its name."""
    rules = {rule["type"]: rule for rule in now.get("protection_rules", ())}
    asked = rules.get("required_reviewers", {})
    found = {
        "wait_timer": rules.get("wait_timer", {}).get("wait_timer"),
        "prevent_self_review": asked.get("prevent_self_review"),
        "reviewers": [
            {"type": one["type"], "id": one["reviewer"]["id"]} for one in asked.get("reviewers", ())
        ],
        "deployment_branch_policy": now.get("deployment_branch_policy"),
    }
    return {name: value for name, value in found.items() if value}


def person(hub: GitHub, name: str) -> tuple[tuple[str, int], bool]:
    """The kind and the id of `@NAME` or `@ORGANIZATION/TEAM`, and whether they may write. UserError where
    this repository knows no such one."""
    login = name.removeprefix("@")
    if "/" in login:
        slug = login.partition("/")[2]
        teams = {str(team["slug"]): team for team in hub.list("/teams")}
        if slug not in teams:
            raise UserError(f"{name} is no team with access to {hub.repository}: give it access first")
        return ("Team", int(teams[slug]["id"])), teams[slug]["permission"] in ("push", "maintain", "admin")
    found = hub.call("GET", f"/collaborators/{login}/permission", missing={})
    if not found.get("user"):
        raise UserError(
            f"{name} is nobody whom {hub.repository} knows: invite them (Settings, Collaborators)"
        )
    return ("User", int(found["user"]["id"])), found["permission"] in ("write", "admin")
