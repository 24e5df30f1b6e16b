"""What GitHub lets in, by the right of who comes and by the rulesets: pushes, and merges with their reviews.

The hook of a checkout's pushes asks here (actions/actions-checkout/door.py); what is put into the bare
repository past it is the loop's own.
"""

import sys
from pathlib import Path
from typing import Any

from pipelines.base import git, programs
from pipelines.base.errors import UserError
from pipelines.local.act import ended
from pipelines.local.events import now, user
from pipelines.local.forge import ApiError, Forge, invalid, latest, route
from pipelines.local.marks import may_write
from pipelines.local.rights import ACTIONS
from pipelines.local.rules import LARGEST_BYTES, OWNERS, Push, owners
from pipelines.local.runner import STAND_INS

DOOR = STAND_INS / "actions-checkout" / "door.py"
BROKEN = "Repository rule violations found\n\n"
GOOD = ("success", "skipped", "neutral")
NAMES = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}


@route("POST", "/git-receive-pack")
def receive(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """Each of these updates may be, or none is. Whose push a branch had last is written down."""
    who = at["who"]
    if who.key == "read-only":
        raise ApiError(403, "ERROR: The key you are authenticating with has been marked as read only.")
    another = who.rights is not None or who.app not in (None, ACTIONS)  # a job, or an app
    able = who.may(("contents:write",)) and (another or may_write(forge, who.login))
    if not who.key and not able:
        raise ApiError(403, f"Permission to {forge.repository}.git denied to {who.login}.")
    for update in body["updates"]:
        push = Push(update["ref"], update["before"], update["after"], update["forced"], bool(who.key))
        if broken := forge.rules.broken(push):
            words = "".join(f"\n- {reason}." for reason in broken)
            raise ApiError(403, f"error: GH013: Repository rule violations found for {push.ref}.{words}")
    for update in body["updates"]:
        forge.state["pushers"][update["ref"]] = {"sha": update["after"], "by": who.login}
    return 200, {}


def door(verb: str, folder: Path, *api: str, login: str = "") -> None:
    """`guard` holds the pushes of jobs into `folder` to what the API says, whichever clone they come from;
    `enter` has a person's, from the checkout `folder`, come with their login: `api` ends with the repository.
    """
    command = [sys.executable, "-I", str(DOOR), verb, str(folder), *api]
    done = programs.run(command, env=programs.environment(TOKEN=login))
    if done.returncode:
        raise UserError(f"the pushes of {folder} cannot be guarded: {done.stderr.strip()[-300:]}")


@route("PUT", "/pulls/{number}/merge", "contents:write")
def merge_pull(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    pull = forge.pull(at["number"])
    record, method = forge.record(pull["number"]), body.get("merge_method", "merge")
    base, head = pull["base"]["sha"], pull["head"]["sha"]
    if method not in NAMES:
        raise invalid(field="merge_method", code="invalid")
    if method == "merge" and not forge.state["merge commits"]:
        raise ApiError(405, f"{NAMES[method]} are not allowed on this repository.")
    if body.get("sha", head) != head:
        raise ApiError(409, "Head branch was modified. Review and try the merge again.")
    if pull["state"] == "open" and pull["draft"]:
        raise ApiError(405, "Pull Request is still a draft")
    if pull["state"] != "open" or not pull["mergeable"]:
        raise ApiError(405, "Pull Request is not mergeable")
    merge_base = forge.git("merge-base", base, head)
    if pull["base"]["ref"] == forge.default:
        if forge.rules.queue:
            raise ApiError(405, f"{BROKEN}Changes must be made through the merge queue")
        if method not in forge.rules.methods:
            raise ApiError(405, f"{NAMES[method]} are not allowed on this repository.")
        if broken := violation(forge, pull, merge_base):
            raise ApiError(405, f"{BROKEN}{broken}")
    elif why := forge.rules.broken(Push(f"refs/heads/{pull['base']['ref']}", base, head)):
        raise ApiError(405, f"{BROKEN}{why[0]}.")
    label = pull["head"]["label"].replace(":", "/")
    headline = body.get("commit_title") or f"Merge pull request #{pull['number']} from {label}"
    message = f"{headline}\n\n{body.get('commit_message') or pull['title']}"
    if (made := merged(forge, method, base, head, message)) is None:
        raise ApiError(405, "Pull Request is not mergeable")
    forge.git("update-ref", f"refs/heads/{pull['base']['ref']}", made, base)
    record |= {"state": "closed", "merged_at": now(), "merge": made, "merge_base": merge_base}
    return 200, {"sha": made, "merged": True, "message": "Pull Request successfully merged"}


def violation(forge: Forge, pull: dict[str, Any], merge_base: str) -> str | None:
    """Why the rules of the default branch do not let a pull request in."""
    if lacks := unmet(forge, pull["head"]["sha"]):
        return lacks
    approved = approvers(forge, pull)
    if (lacking := forge.rules.approvals - len(approved)) > 0:
        return f"At least {lacking} approving review is required by reviewers with write access."
    if forge.rules.by_another and not approved - {last_pusher(forge, pull)}:
        return "New changes require approval from someone other than the last pusher."
    if forge.rules.owners and (waits := unapproved(forge, pull, approved)):
        return f"Waiting on code owner review from {' or '.join(waits)}."
    if forge.rules.strict and merge_base != pull["base"]["sha"]:
        return "This branch must be up to date before it can be merged."
    return None


def unmet(forge: Forge, sha: str) -> str | None:
    """The first required check that does not stand on a commit."""
    found = standing(forge, sha)
    for context in forge.rules.checks:
        state, app = found.get(context, ("expected", None))
        if forge.rules.apps.get(context, app) != app:
            state = "expected"  # somebody else said it
        if state not in GOOD:
            return f'Required status check "{context}" is {state}.'
    return None


def standing(forge: Forge, sha: str) -> dict[str, tuple[str, int | None]]:
    """What counts for required checks, with the app that said it: commit statuses, and the jobs of runs of a
    `pull_request` or a `merge_group` event, but not of other runs."""
    found: dict[str, tuple[str, int | None]] = {}
    for run in reversed(ended(forge.folder)):  # the newest wins
        if run["head_sha"] == sha and run["event"] in ("pull_request", "merge_group"):
            found |= {name: (result, ACTIONS) for name, result in run.get("checks", {}).items()}
    for status in latest(forge, sha):
        found[status["context"]] = (status["state"], status.get("app"))
    return found


def approvers(forge: Forge, pull: dict[str, Any]) -> set[str]:
    """Who approved the head as it is: people who may write, the author not among them."""
    found: set[str] = set()
    for review in forge.state["reviews"]:
        login = review["user"]["login"]
        able = may_write(forge, login)
        if review["issue"] == pull["number"] and review["commit_id"] == pull["head"]["sha"] and able:
            (found.add if review["state"] == "APPROVED" else found.discard)(login)
    return found - {pull["user"]["login"]}


def last_pusher(forge: Forge, pull: dict[str, Any]) -> str:
    """Who brought the head; the author where nobody was seen to."""
    seen = forge.state["pushers"].get(f"refs/heads/{pull['head']['ref']}", {})
    here = pull["head"]["repo"]["full_name"] == forge.repository
    return str(seen["by"] if here and seen.get("sha") == pull["head"]["sha"] else pull["user"]["login"])


def unapproved(forge: Forge, pull: dict[str, Any], approved: set[str]) -> tuple[str, ...]:
    """Owners of a changed file, by the base's CODEOWNERS, none of whom approved; they are who may write."""
    base = pull["base"]["sha"]
    texts = (git.blob(base, path, forge.origin) for path in OWNERS)
    found = next((text for text in texts if text is not None), b"")
    changed = forge.changes(forge.record(pull["number"]))
    paths = [file[name] for file in changed for name in ("filename", "previous_filename") if name in file]
    for its in owners(found.decode(errors="replace"), paths) if len(found) <= LARGEST_BYTES else ():
        able = tuple(owner for owner in its if may_write(forge, owner))
        if able and not approved & set(able):
            return able
    return ()


def merged(forge: Forge, method: str, base: str, head: str, message: str) -> str | None:
    """The commit that a merge of this method makes of two; None when they conflict."""
    if method == "merge":
        return forge.merge(base, head, message)
    if method == "squash":
        if (both := forge.merge(base, head, message)) is None:
            return None
        return forge.git(*forge.author, "commit-tree", f"{both}^{{tree}}", "-p", base, "-m", message)
    return forge.made(head, "rebase", "--quiet", "--force-rebase", base)


@route("POST", "/pulls/{number}/reviews", "pull-requests:write")
def create_review(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    pull = forge.pull(at["number"])
    kinds = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED"}
    if body.get("event") == "APPROVE" and at["by"] == pull["user"]["login"]:
        raise ApiError(422, "Unprocessable Entity", errors=["Can not approve your own pull request"])
    review = {
        "id": forge.next_id(),
        "user": user(at["by"]),
        "state": kinds.get(body.get("event", ""), "COMMENTED"),
        "commit_id": body.get("commit_id", pull["head"]["sha"]),
        "submitted_at": now(),
    }
    forge.state["reviews"].append(review | {"issue": pull["number"]})
    return 200, review
