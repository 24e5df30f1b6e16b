"""The repository's issues; GitHub lists pull requests among them."""

from typing import Any

from pipelines.local.events import now, user
from pipelines.local.forge import ApiError, Forge, route, text, whole

REASONS = ("completed", "not_planned", "duplicate", "reopened")


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
    number = forge.next_id()
    issue = {
        "number": number,
        "title": text(body, "title"),
        "body": body.get("body"),
        "state": "open",
        "state_reason": None,
        "user": user(at["by"]),
        "created_at": now(),
        "html_url": f"https://github.com/{forge.repository}/issues/{number}",
    }
    forge.state["issues"].append(issue)
    return 201, issue


@route("PATCH", "/issues/{number}", "issues:write")
def update_issue(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    for issue in forge.state["issues"]:
        if issue["number"] == whole(at["number"]):
            for name, choices in (("state", ("open", "closed")), ("state_reason", REASONS)):
                if name in body and body[name] not in choices:
                    raise ApiError(422, "Validation Failed", errors=[{"field": name, "code": "invalid"}])
            issue |= {k: body[k] for k in ("title", "body", "state", "state_reason") if k in body}
            return 200, issue
    raise ApiError(404, "Not Found")
