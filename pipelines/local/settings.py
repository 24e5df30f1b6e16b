"""What administrators set behind the stand-in of GitHub: rulesets, labels, variables, what Actions may do."""

import re
from typing import Any

from pipelines.base.github import BOT
from pipelines.local.events import now, user
from pipelines.local.forge import ApiError, Forge, invalid, one, route, text
from pipelines.local.rights import ACTIONS

UPGRADE = "Upgrade to GitHub Pro or make this repository public to enable this feature."
RULES = (
    *("creation", "update", "deletion", "non_fast_forward", "pull_request", "required_status_checks"),
    *("required_linear_history", "required_signatures", "required_deployments", "merge_queue"),
)
FILLED: dict[str, dict[str, Any]] = {  # what GitHub adds to a rule's parameters
    "update": {"update_allows_fetch_and_merge": False},
    "pull_request": {"required_reviewers": [], "automatic_copilot_code_review_enabled": False},
}
VARIABLE = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*")


# --- the repository ---------------------------------------------------------------------------------------


@route("GET", "", "metadata:read")
def get_repository(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """How it merges is shown to administrators alone."""
    role = "admin" if at["by"] == BOT else forge.state["roles"].get(at["by"], "read")
    rights = {"admin": role == "admin", "push": role in ("write", "maintain", "admin"), "pull": True}
    told = forge.about(forge.repository)
    told |= {"permissions": rights, "visibility": "private" if forge.plan.private else "public"}
    if rights["admin"]:
        told["allow_merge_commit"] = forge.state["merge commits"]
    return 200, told


@route("PATCH", "", "administration:write")
def update_repository(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    if branch := body.get("default_branch"):
        forge.ask("rev-parse", "--verify", f"refs/heads/{branch}", missing="Validation Failed", status=422)
        forge.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
    if isinstance(merges := body.get("allow_merge_commit"), bool):
        forge.state["merge commits"] = merges
    return get_repository(forge, at, body)


@route("GET", "~/user")
def get_user(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    if at["who"].rights is not None:
        raise ApiError(403, "Resource not accessible by integration")
    return 200, user(at["by"])


@route("GET", "~/apps/{slug}")
def get_app(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    if at["slug"] != "github-actions":
        raise ApiError(404, "Not Found")
    return 200, {"id": ACTIONS, "slug": at["slug"], "name": "GitHub Actions"}


@route("GET", "/teams", "administration:read")
def list_teams(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """A person's own repository has none."""
    return 200, []


# --- labels -----------------------------------------------------------------------------------------------


@route("GET", "/labels/{name}", "issues:read", "pull-requests:read")
def get_label(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    if (found := forge.state["labels"].get(at["name"])) is None:
        raise ApiError(404, "Not Found")
    return 200, found


@route("POST", "/labels", "issues:write", "pull-requests:write")
def create_label(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    if (name := text(body, "name")) in forge.state["labels"]:
        raise invalid(resource="Label", code="already_exists", field="name")
    if not re.fullmatch(r"[0-9a-f]{6}", body.get("color", "ededed")):
        raise invalid(resource="Label", code="invalid", field="color")
    label = {"id": forge.next_id(), "name": name, "color": body.get("color", "ededed")}
    forge.state["labels"][name] = label | {"description": body.get("description"), "default": False}
    return 201, forge.state["labels"][name]


# --- what Actions may do, and the repository's variables --------------------------------------------------


@route("GET", "/actions/permissions/workflow", "administration:read")
def get_workflow_permissions(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    default = forge.state.get("default permissions", "read")
    allowed = forge.state["pulls by workflows"]
    return 200, {"default_workflow_permissions": default, "can_approve_pull_request_reviews": allowed}


@route("PUT", "/actions/permissions/workflow", "administration:write")
def set_workflow_permissions(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    forge.state["default permissions"] = body.get("default_workflow_permissions", "read")
    forge.state["pulls by workflows"] = bool(body.get("can_approve_pull_request_reviews"))
    return 204, None


@route("GET", "/actions/variables", "variables:read")
def list_variables(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    found = list(forge.state["variables"].values())
    return 200, {"total_count": len(found), "variables": found}


@route("GET", "/actions/variables/{name}", "variables:read")
def get_variable(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    return 200, variable(forge, at["name"])


@route("POST", "/actions/variables", "variables:write")
def create_variable(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    name = text(body, "name").upper()
    if not VARIABLE.fullmatch(name):
        raise invalid(field="name", code="invalid")
    if name in forge.state["variables"]:
        raise ApiError(409, "Already exists - Variable already exists")
    moment = now()
    forge.state["variables"][name] = {
        "name": name,
        "value": text(body, "value"),
        "created_at": moment,
        "updated_at": moment,
    }
    return 201, {}


@route("PATCH", "/actions/variables/{name}", "variables:write")
def update_variable(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    variable(forge, at["name"]).update(value=text(body, "value"), updated_at=now())
    return 204, None


@route("DELETE", "/actions/variables/{name}", "variables:write")
def delete_variable(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    del forge.state["variables"][variable(forge, at["name"])["name"]]
    return 204, None


def variable(forge: Forge, name: str) -> dict[str, Any]:
    return one(forge.state["variables"].values(), "name", name)


# --- rulesets ---------------------------------------------------------------------------------------------


@route("GET", "/rulesets", "metadata:read")
def list_rulesets(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """Without what they hold."""
    offered(forge)
    shown = ("id", "name", "target", "source_type", "source", "enforcement", "created_at", "updated_at")
    return 200, [{name: ruleset[name] for name in shown} for ruleset in forge.state["rulesets"]]


@route("GET", "/rulesets/{id}", "metadata:read")
def get_ruleset(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """Who may pass it by is shown to administrators alone."""
    offered(forge)
    found = dict(one(forge.state["rulesets"], "id", at["id"]))
    if at["by"] != BOT and forge.state["roles"].get(at["by"]) != "admin":
        found.pop("bypass_actors")
    return 200, found


@route("POST", "/rulesets", "administration:write")
def create_ruleset(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    offered(forge)
    made = {"id": forge.next_id(), "source_type": "Repository", "source": forge.repository}
    made |= {"created_at": now()} | checked(forge, body, None)
    forge.state["rulesets"].append(made)
    return 201, made


@route("PUT", "/rulesets/{id}", "administration:write")
def update_ruleset(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    offered(forge)
    found = one(forge.state["rulesets"], "id", at["id"])
    found |= checked(forge, {**found, **body}, found["id"])
    return 200, found


@route("DELETE", "/rulesets/{id}", "administration:write")
def delete_ruleset(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    forge.state["rulesets"].remove(one(forge.state["rulesets"], "id", at["id"]))
    return 204, None


def offered(forge: Forge) -> None:
    """403 where the plan has no rulesets."""
    if not forge.plan.rules:
        raise ApiError(403, UPGRADE)


def checked(forge: Forge, body: dict[str, Any], own: int | None) -> dict[str, Any]:
    """A ruleset as it is kept, with what GitHub adds; 422 for what it does not take."""

    def fault(message: str) -> ApiError:
        return ApiError(422, "Validation Failed", errors=[message])

    if text(body, "enforcement") not in ("active", "disabled", "evaluate"):
        raise fault("Enforcement is not included in the list")
    if any(text(body, "name") == r["name"] and r["id"] != own for r in forge.state["rulesets"]):
        raise fault("Name must be unique")
    if unknown := [rule["type"] for rule in body.get("rules", ()) if rule["type"] not in RULES]:
        raise fault(f"Invalid rule '{unknown[0]}': ")
    for actor in body.get("bypass_actors", ()):
        if (actor["actor_id"] is None) != (actor["actor_type"] == "DeployKey"):
            raise fault("Bypass actors is invalid")
    rules = []
    for rule in body.get("rules", ()):
        parameters = FILLED.get(rule["type"], {}) | rule.get("parameters", {})
        for check in parameters.get("required_status_checks", ()):
            if check.get("integration_id") not in (None, ACTIONS):
                raise fault("Required status checks integration is not installed")
        rules.append({"type": rule["type"]} | ({"parameters": parameters} if parameters else {}))
    return {
        "name": body["name"],
        "target": body.get("target", "branch"),
        "enforcement": body["enforcement"],
        "bypass_actors": body.get("bypass_actors", []),
        "conditions": body.get("conditions", {"ref_name": {"include": [], "exclude": []}}),
        "rules": rules,
        "updated_at": now(),
    }
