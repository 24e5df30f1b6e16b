"""The events that start a workflow, with GitHub's payloads: the documented fields that workflows read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

MAIN = "main"  # the default branch


@dataclass(frozen=True)
class Event:
    """Why a workflow runs. `sha` is `github.sha`; None is the newest commit of `ref` when the run starts."""

    name: str
    payload: Mapping[str, Any] = field(repr=False)
    sha: str | None = None
    ref: str = f"refs/heads/{MAIN}"
    head_sha: str | None = None  # what GitHub calls the run's head: a proposal's own commit, not its merge
    head_branch: str = MAIN


def pull_request(pull: Mapping[str, Any], action: str = "synchronize") -> Event:
    """A pull request, as the API gives it, was opened or got new commits. It runs on its merge commit."""
    told = {"action": action, "number": pull["number"], "pull_request": dict(pull)}
    told |= {"repository": pull["base"]["repo"], "sender": pull["user"]}
    head, ref = pull["head"], f"refs/pull/{pull['number']}/merge"
    sha = pull.get("merge_commit_sha") or head["sha"]
    return Event("pull_request", told, sha, ref, head["sha"], head["ref"])


def targeted(pull: Mapping[str, Any], action: str, default: str = MAIN, **more: Any) -> Event:
    """Something happened to a pull request: a run of the default branch's commit and workflow."""
    told = {**pull_request(pull, action).payload, **more}
    return Event("pull_request_target", told, ref=f"refs/heads/{default}", head_branch=default)


def merge_group(repository: str, group: Mapping[str, Any], default: str = MAIN) -> Event:
    """A merge queue asks for the checks of a group, which is on a branch of its own."""
    told = {"action": "checks_requested", "merge_group": dict(group)} | _by_owner(repository, default)
    branch = group["head_ref"].removeprefix("refs/heads/")
    return Event("merge_group", told, group["head_sha"], group["head_ref"], group["head_sha"], branch)


def push(repository: str, before: str, after: str, default: str = MAIN) -> Event:
    """Commits `before`..`after` arrived on the default branch; `before` is forty zeros for a new one."""
    ref = f"refs/heads/{default}"
    told = {"ref": ref, "before": before, "after": after} | _by_owner(repository, default)
    return Event("push", told, after, ref, after, default)


def workflow_run(repository: str, run: Mapping[str, Any], default: str = MAIN) -> Event:
    """A run of another workflow, as `Run.as_json` gives it, has completed."""
    about = {"name": run["name"], "path": run["path"], "state": "active"}
    told = {"action": "completed", "workflow": about, "workflow_run": dict(run)}
    return Event("workflow_run", told | _by_owner(repository, default), None, *_on(default))


def schedule(repository: str, default: str = MAIN) -> Event:
    told = {"schedule": "0 6 1 * *", "repository": describe(repository, default=default)}
    return Event("schedule", told, None, *_on(default))


def workflow_dispatch(repository: str, path: str, inputs: Mapping[str, str], default: str = MAIN) -> Event:
    """Somebody pressed "Run workflow". Inputs are text, as GitHub sends them."""
    told = {"inputs": dict(inputs), "ref": f"refs/heads/{default}", "workflow": path}
    return Event("workflow_dispatch", told | _by_owner(repository, default), None, *_on(default))


def _by_owner(repository: str, default: str) -> dict[str, Any]:
    return {"repository": describe(repository, default=default), "sender": user(owner(repository))}


def _on(default: str) -> tuple[str, None, str]:
    """An event's ref, the head that it has beside, and its branch, where it is the default branch's."""
    return f"refs/heads/{default}", None, default


def describe(
    repository: str, fork: bool = False, private: bool = False, default: str = MAIN
) -> dict[str, Any]:
    """A repository, as payloads and the API name it."""
    return {
        "id": 2 if fork else 1,
        "name": repository.partition("/")[2],
        "full_name": repository,
        "private": private,
        "owner": user(owner(repository)),
        "html_url": f"https://github.com/{repository}",
        "fork": fork,
        "default_branch": default,
    }


def user(login: str) -> dict[str, Any]:
    kind = "Bot" if login.endswith("[bot]") else "User"
    return {"login": login, "id": crc32(login.encode()), "type": kind, "site_admin": False}


def owner(repository: str) -> str:
    return repository.partition("/")[0]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
