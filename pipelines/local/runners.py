"""Workflows and self-hosted runners, as the stand-in of GitHub's API tells of them."""

import uuid
from typing import Any

from pipelines.base import git
from pipelines.local.forge import ApiError, Forge, invalid, one, route, text

VERSION = "2.330.0"


@route("GET", "/actions/workflows/{file}", "actions:read")
def get_workflow(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """One that the default branch has."""
    path = f".github/workflows/{at['file']}"
    if git.object_of(forge.default, path, forge.origin) is None:
        raise ApiError(404, "Not Found")
    state = forge.state.get("asleep", {}).get(at["file"], "active")
    name = at["file"].removesuffix(".yml")
    page = f"https://github.com/{forge.repository}/blob/{forge.default}/{path}"
    return 200, {"id": 1, "name": name, "path": path, "state": state, "html_url": page}


@route("PUT", "/actions/workflows/{file}/disable", "actions:write")
def disable_workflow(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    get_workflow(forge, at, body)
    forge.state.setdefault("asleep", {})[at["file"]] = "disabled_manually"
    return 204, None


@route("PUT", "/actions/workflows/{file}/enable", "actions:write")
def enable_workflow(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    get_workflow(forge, at, body)
    forge.state.get("asleep", {}).pop(at["file"], None)
    return 204, None


@route("GET", "/actions/runners", "administration:read")
def list_runners(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    runners = forge.state.get("runners", [])
    return 200, {"total_count": len(runners), "runners": runners}


@route("POST", "/actions/runners/generate-jitconfig", "administration:write")
def create_runner(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """Here its program connects at once."""
    runners, name, labels = forge.state.setdefault("runners", []), text(body, "name"), body.get("labels")
    if not labels or not isinstance(labels, list):
        raise invalid(field="labels", code="missing_field")
    if name in {runner["name"] for runner in runners}:
        raise ApiError(409, "Already exists")
    runner = {"id": forge.next_id(), "runner_group_id": body.get("runner_group_id", 1), "name": name}
    runner |= {"os": "linux", "status": "online", "busy": False, "ephemeral": True, "version": VERSION}
    runner["labels"] = [{"id": n, "name": label, "type": "custom"} for n, label in enumerate(labels, 1)]
    runners.append(runner)
    return 201, {"runner": runner, "encoded_jit_config": uuid.uuid4().hex}


@route("DELETE", "/actions/runners/{id}", "administration:write")
def delete_runner(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    forge.state["runners"].remove(one(forge.state.get("runners", []), "id", at["id"]))
    return 204, None
