"""What people and workflows leave on a pull request or a commit, and issues, which GitHub lists with them."""

from collections.abc import Mapping
from typing import Any

from pipelines.local.act import seen
from pipelines.local.events import user
from pipelines.local.forge import Forge, invalid, latest, now, one, route, text

BODY_LIMIT = 65536  # characters of a comment
# Of a repository, the least first: the role, and what `permission` calls it
ROLES = dict(read="read", triage="read", write="write", maintain="write", admin="admin")
RIGHTS = ("pull", "triage", "push", "maintain", "admin")
REASONS = ("completed", "not_planned", "duplicate", "reopened")  # for the state of an issue


@route("GET", "/issues", "issues:read")
def list_issues(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    wanted = at.get("state", "open")
    pulls = [
        {name: pull[name] for name in ("number", "title", "body", "state", "user", "html_url", "created_at")}
        | {"pull_request": {"html_url": pull["html_url"], "merged_at": pull["merged_at"]}}
        for pull in map(forge.describe, forge.state["pulls"])
    ]
    found = [one for one in (*forge.state["issues"], *pulls) if wanted in (one["state"], "all")]
    return 200, sorted(found, key=lambda one: -one["number"])


@route("POST", "/issues", "issues:write")
def create_issue(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    issue = {"number": (number := forge.next_id()), "title": text(body, "title"), "body": body.get("body")}
    issue |= {"state": "open", "state_reason": None, "user": user(at["by"]), "created_at": now()}
    issue["html_url"] = f"https://github.com/{forge.repository}/issues/{number}"
    forge.state["issues"].append(issue)
    return 201, issue


@route("PATCH", "/issues/{number}", "issues:write")
def update_issue(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    issue = one(forge.state["issues"], "number", at["number"])
    for name, choices in (("state", ("open", "closed")), ("state_reason", REASONS)):
        if name in body and body[name] not in choices:
            raise invalid(field=name, code="invalid")
    issue |= {k: body[k] for k in ("title", "body", "state", "state_reason") if k in body}
    return 200, issue


@route("GET", "/issues/{number}/comments", "issues:read", "pull-requests:read")
def list_comments(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    number = forge.pull(at["number"])["number"]
    return 200, [comment for comment in forge.state["comments"] if comment["issue"] == number]


@route("POST", "/issues/{number}/comments", "issues:write", "pull-requests:write")
def create_comment(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    number, made = forge.pull(at["number"])["number"], forge.next_id()
    page = f"https://github.com/{forge.repository}/pull/{number}"
    comment = {
        "id": made,
        "issue": number,
        "body": comment_body(body),
        "user": user(at["by"]),
        "created_at": now(),
        "updated_at": now(),
        "html_url": f"{page}#issuecomment-{made}",
        "issue_url": f"https://api.github.com/repos/{forge.repository}/issues/{number}",
    }
    forge.state["comments"].append(comment)
    return 201, comment


@route("PATCH", "/issues/comments/{id}", "issues:write", "pull-requests:write")
def update_comment(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    comment = one(forge.state["comments"], "id", at["id"])
    comment |= {"body": comment_body(body), "updated_at": now()}
    return 200, comment


@route("POST", "/statuses/{sha}", "statuses:write")
def create_status(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    sha, state, description = forge.commit(at["sha"]), text(body, "state"), body.get("description")
    if state not in ("error", "failure", "pending", "success"):
        raise invalid(resource="Status", field="state", code="custom")
    if description is not None and len(description) > 140:
        message = "description is too long (maximum is 140 characters)"
        raise invalid(resource="Status", field="description", message=message)
    status = {
        "id": forge.next_id(),
        "state": state,
        "description": description,
        "target_url": body.get("target_url"),
        "context": body.get("context", "default"),
        "created_at": now(),
        "updated_at": now(),
        "creator": user(at["by"]),
    }
    forge.state["statuses"].append(status | {"sha": sha, "app": at["who"].app})
    return 201, status


@route("GET", "/commits/{ref}/statuses", "statuses:read")
def list_statuses(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    sha = forge.commit(at["ref"])
    return 200, [status for status in reversed(forge.state["statuses"]) if status["sha"] == sha]


@route("GET", "/commits/{ref}/status", "statuses:read")
def combined_status(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    sha = forge.commit(at["ref"])
    statuses = latest(forge, sha)
    states = {status["state"] for status in statuses}
    state = "failure" if states & {"error", "failure"} else "success" if states == {"success"} else "pending"
    told = {"state": state, "statuses": statuses, "sha": sha, "total_count": len(statuses)}
    return 200, told | {"repository": forge.about(forge.repository)}


@route("GET", "/issues/{number}/events", "issues:read")
def list_events(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    number = forge.record(at["number"])["number"]
    return 200, [event for event in forge.state["events"] if event["issue"] == number]


def may_write(forge: Forge, login: str) -> bool:
    """Whether somebody's role lets them push."""
    return ROLES[forge.state["roles"].get(login, "read")] in ("write", "admin")


@route("PUT", "/collaborators/{login}", "administration:write")
def add_collaborator(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    role = {"pull": "read", "push": "write"}.get(body["permission"], body["permission"])
    if role not in ROLES:
        raise invalid(field="permission", code="invalid")
    forge.state["roles"][at["login"]] = role
    return 204, None


@route("GET", "/collaborators/{login}/permission")
def get_permission(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """A public repository may be read by all. Maintain is called write here, and triage read."""
    role = forge.state["roles"].get(at["login"], "read")
    rights = {name: list(ROLES).index(role) >= number for number, name in enumerate(RIGHTS)}
    about = user(at["login"]) | {"permissions": rights, "role_name": role}
    return 200, {"permission": ROLES[role], "role_name": role, "user": about}


@route("GET", "/actions/workflows/{file}/runs", "actions:read")
def list_runs(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    path = f".github/workflows/{at['file']}"
    asked = {at[name] for name in ("head_sha", "event", "status") if name in at}  # `status` is two of them
    told = ("head_sha", "event", "status", "conclusion")
    found = [r for r in seen(forge.folder) if r["path"] == path and asked <= {r.get(name) for name in told}]
    return 200, {"total_count": len(found), "workflow_runs": found}


@route("GET", "/actions/runs/{id}", "actions:read")
def get_run(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    return 200, one(seen(forge.folder), "id", at["id"])


@route("GET", "/actions/runs/{id}/artifacts", "actions:read")
def list_artifacts(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    number = get_run(forge, at, body)[1]["id"]
    folders = sorted((forge.folder / "artifacts" / str(number)).glob("[!.]*"))
    named = [folder.name for folder in folders if folder.name == at.get("name", folder.name)]
    found = [{"id": index, "name": name, "expired": False} for index, name in enumerate(named, 1)]
    return 200, {"total_count": len(found), "artifacts": found}


def comment_body(body: Mapping[str, Any]) -> str:
    if len(text(body, "body")) > BODY_LIMIT:
        message = f"body is too long (maximum is {BODY_LIMIT} characters)"
        raise invalid(resource="IssueComment", field="body", message=message)
    return text(body, "body")
