"""The merge queue of the stand-in, where a ruleset has one: a group a pull request, on a branch of its own,
on top of the group before it. It merges where the required checks stand on its commit, and not from behind
another.

GitHub's own queue is joined and left by its pages and by GraphQL; these routes stand for both."""

from typing import Any

from pipelines.local.forge import ApiError, Forge, now, route
from pipelines.local.pushes import BROKEN, unmet, violation
from pipelines.local.rules import NOTHING


@route("PUT", "/pulls/{number}/queue", "contents:write")
def join(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """A pull request that might merge now, but that it need not be up to date, gets its group: the payload of
    the event `merge_group`."""
    pull = forge.pull(at["number"])
    number, base, head = pull["number"], pull["base"], pull["head"]["sha"]
    if not forge.rules.queue or base["ref"] != forge.default:
        raise ApiError(422, "This branch has no merge queue")
    if pull["state"] != "open" or pull["draft"] or not pull["mergeable"]:
        raise ApiError(405, "Pull Request is not mergeable")
    if broken := violation(forge, pull, base["sha"]):
        raise ApiError(405, f"{BROKEN}{broken}")
    parent = forge.state["queue"][-1]["head_sha"] if forge.state["queue"] else base["sha"]
    message = f"Merge pull request #{number} from {pull['head']['label'].replace(':', '/')}"
    if (made := forge.merge(parent, head, f"{message}\n\n{pull['title']}")) is None:
        raise ApiError(405, "Pull Request is not mergeable")
    branch = f"refs/heads/gh-readonly-queue/{base['ref']}/pr-{number}-{parent}"
    forge.git("update-ref", branch, made, NOTHING)
    group = {
        "head_sha": made,
        "head_ref": branch,
        "base_sha": parent,
        "base_ref": f"refs/heads/{base['ref']}",
        "head_commit": {"id": made, "message": message},
    }
    forge.state["queue"].append({**group, "number": number, "proposed": head})
    return 201, group


@route("DELETE", "/pulls/{number}/queue", "contents:write")
def leave(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """Its group goes, and those on top of it, which GitHub makes anew."""
    place = _place(forge, at["number"])
    for group in forge.state["queue"][place:]:
        forge.git("update-ref", "-d", group["head_ref"])
    del forge.state["queue"][place:]
    return 204, None


@route("PUT", "/pulls/{number}/queue/merge", "contents:write")
def merge(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """What GitHub does by itself once the checks stand: the default branch moves on to the group."""
    if place := _place(forge, at["number"]):
        raise ApiError(405, f"#{forge.state['queue'][place - 1]['number']} is before it in the queue")
    group = forge.state["queue"][0]
    pull = forge.pull(at["number"])
    if pull["head"]["sha"] != group["proposed"]:
        raise ApiError(409, "Head branch was modified. Add it to the queue again.")
    if broken := unmet(forge, group["head_sha"]):
        raise ApiError(405, f"{BROKEN}{broken}")
    forge.git("update-ref", group["base_ref"], group["head_sha"], group["base_sha"])
    forge.git("update-ref", "-d", group["head_ref"])
    del forge.state["queue"][0]
    record = forge.record(pull["number"])
    record |= {"state": "closed", "merged_at": now(), "merge": group["head_sha"]}
    record["merge_base"] = forge.git("merge-base", group["base_sha"], group["proposed"])
    return 200, {"sha": group["head_sha"], "merged": True, "message": "Pull Request successfully merged"}


def _place(forge: Forge, number: str) -> int:
    places = [place for place, one in enumerate(forge.state["queue"]) if str(one["number"]) == number]
    if not places:
        raise ApiError(404, "Not Found")
    return places[0]
