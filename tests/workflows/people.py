"""What people do on GitHub, and neither a workflow nor the demo does: more routes of the stand-in."""

from typing import Any

from pipelines.base.files import write_text
from pipelines.local.forge import ApiError, Forge, route
from pipelines.local.marks import get_run
from pipelines.local.pushes import BROKEN
from pipelines.local.rules import NOTHING, Push


@route("POST", "/issues/{number}/labels", "issues:write", "pull-requests:write")
def add_labels(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    record = forge.record(at["number"])
    names = record.setdefault("labels", [])
    for name in body["labels"]:
        if name not in names:
            names.append(name)
            forge.happened(record["number"], "labeled", at["by"], label={"name": name})
    return 200, [{"name": name} for name in names]


@route("DELETE", "/issues/{number}/labels/{name}", "issues:write", "pull-requests:write")
def remove_label(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    record = forge.record(at["number"])
    if at["name"] not in record.get("labels", ()):
        raise ApiError(404, "Label does not exist")
    record["labels"].remove(at["name"])
    forge.happened(record["number"], "unlabeled", at["by"], label={"name": at["name"]})
    return 200, [{"name": name} for name in record["labels"]]


@route("PUT", "/pulls/{number}/draft", "pull-requests:write")
def set_draft(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """Somebody presses "Ready for review", or "Convert to draft": GitHub's REST API has neither."""
    record = forge.record(at["number"])
    record["draft"] = body["draft"]
    forge.happened(record["number"], "convert_to_draft" if body["draft"] else "ready_for_review", at["by"])
    return 200, forge.describe(record)


@route("POST", "/actions/runs/{id}/approve", "actions:write")
def approve_run(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """Somebody who may write lets a run that waits for it begin: `act.run(..., again=ID)`."""
    if get_run(forge, at, body)[1]["conclusion"] != "action_required":
        raise ApiError(403, "This run is not waiting for approval")
    write_text(forge.folder / "runs" / at["id"] / "approved", at["by"])
    return 201, {}


@route("DELETE", "/git/refs/{path}", "contents:write")
def delete_ref(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """A branch goes; what was proposed into it moves to where the branch itself was merged, or is closed."""
    branch = at["path"].removeprefix("heads/")
    ref = f"refs/{at['path']}"
    forge.ask("rev-parse", "--verify", "--quiet", ref, missing="Reference does not exist", status=422)
    if why := forge.rules.broken(Push(ref, forge.commit(branch), NOTHING)):
        raise ApiError(422, f"{BROKEN}{why[0]}.")
    followed = [p for p in forge.state["pulls"] if p["head_ref"] == branch and p["merged_at"]]
    for record in forge.state["pulls"]:
        if record["state"] == "open" and branch in (record["head_ref"], record["base_ref"]):
            forge.describe(record)  # its last ends
            if followed and record["base_ref"] == branch:
                target = followed[-1]["base_ref"]
                record |= {"base_ref": target, "base": forge.commit(target)}
                record.pop("merge", None)
                forge.happened(record["number"], "automatic_base_change_succeeded", at["by"])
            elif not record.get("fork") or record["base_ref"] == branch:
                record["state"] = "closed"
                forge.happened(record["number"], "closed", at["by"])
    forge.git("update-ref", "-d", ref)
    return 204, None
