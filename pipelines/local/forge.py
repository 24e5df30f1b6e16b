"""The repository behind the stand-in of GitHub's API, its commits, its pull requests: what routes answer."""

import base64
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.base import git
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_json
from pipelines.local.events import describe, now, owner, user
from pipelines.local.plans import Plan
from pipelines.local.rules import Rules

DOCS = "https://docs.github.com/rest"
FILES = {"A": "added", "M": "modified", "D": "removed", "R": "renamed", "T": "changed"}
TREE_LIMIT = 100_000  # entries


class ApiError(Exception):
    """An answer that is not a success: status and message."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "documentation_url": DOCS, "status": str(status), **more}


def invalid(**fault: str) -> ApiError:
    """GitHub's 422 for a body that it does not take."""
    return ApiError(422, "Validation Failed", errors=[fault])


class Forge:
    """The pull requests and what was said of them, on disk before an answer, beside the runs of `act.run`."""

    def __init__(
        self,
        folder: Path,
        origin: Path,
        repository: str,
        rules: Rules | None = None,
        plan: Plan | None = None,
    ) -> None:
        """With `rules`, or without a `plan`, it is one that is set up; with a plan alone a new one."""
        self.folder, self.file, self.origin = folder, folder / "github.json", origin.absolute()
        self.repository, self.plan = repository, plan or Plan.PUBLIC
        self.given = rules or (None if plan else Rules())
        self.lock = threading.RLock()
        lists = ("pulls", "issues", "comments", "statuses", "events", "reviews", "unexpected", "rulesets")
        self.state: dict[str, Any] = {
            **{name: [] for name in lists},
            **{name: {} for name in ("labels", "environments", "variables")},
            "merge commits": True,
            "pulls by workflows": plan is None,  # Actions may create pull requests
            "last": 0,
            "queue": [],  # groups of the merge queue, the first one first
            "keys": {},  # deploy keys, by fingerprint
            "pushers": {},  # of each ref: its commit, and who pushed that
            "roles": {owner(repository): "admin"},
        }
        if self.file.exists():
            self.state |= read_json(self.file)

    @property
    def default(self) -> str:
        """The default branch."""
        return self.git("symbolic-ref", "--short", "HEAD")

    @property
    def rules(self) -> Rules:
        """What merges and pushes are held to: what was given, or else the rulesets that were made here."""
        made: list[dict[str, Any]] = self.state["rulesets"]
        return self.given if self.given and not made else Rules.made(made, self.default)

    @property
    def author(self) -> tuple[str, ...]:
        """Who makes GitHub's own commits, as options of git."""
        return ("-c", f"user.name={owner(self.repository)}", "-c", "user.email=noreply@github.com")

    def save(self) -> None:
        write_json(self.file, self.state)

    def next_id(self) -> int:
        self.state["last"] += 1
        return int(self.state["last"])

    def git(self, *arguments: str) -> str:
        return git.run(*arguments, at=self.origin)

    def ask(self, *arguments: str, missing: str = "Not Found", status: int = 404) -> str:
        """As `git`; ApiError where that fails."""
        try:
            return self.git(*arguments)
        except UserError:
            raise ApiError(status, missing) from None

    def commit(self, ref: str) -> str:
        """The SHA of a branch, a ref or a commit; 422 when there is none, as GitHub says it."""
        other, _, branch = ref.partition(":")  # a fork's branch; forks share their objects with us
        fork = (f"refs/forks/{other}/{branch}",) if branch else ()
        for name in (*fork, f"refs/heads/{ref}", ref):
            if found := git.commit(name, self.origin):
                return found
        raise ApiError(422, f"No commit found for SHA: {ref}")

    def pull(self, number: int | str) -> dict[str, Any]:
        return self.describe(self.record(number))

    def record(self, number: int | str) -> dict[str, Any]:
        """What is kept of a pull request; 404 when there is none."""
        return one(self.state["pulls"], "number", number)

    def happened(self, number: int, event: str, login: str, **more: Any) -> None:
        """Write down an event of a pull request, as its page shows it."""
        entry = {"id": self.next_id(), "event": event, "actor": user(login), "created_at": now(), **more}
        self.state["events"].append(entry | {"issue": number})

    def describe(self, record: dict[str, Any]) -> dict[str, Any]:
        """A pull request with its head and base as they are now; a closed one keeps what it had."""
        if record["state"] == "open":
            before = (record["head"], record["base"])
            record["head"] = self.commit(head_name(record))
            record["base"] = self.commit(record["base_ref"])
            if before != (record["head"], record["base"]) or "merge" not in record:
                ref, base, head = f"refs/pull/{record['number']}", record["base"], record["head"]
                self.git("update-ref", f"{ref}/head", head)
                if merged := self.merge(base, head, f"Merge {head} into {base}"):
                    self.git("update-ref", f"{ref}/merge", merged)
                record["merge"] = merged  # None where the two ends conflict
                self.save()
        number = record["number"]
        ends = {
            end: {
                "label": f"{owner(repo)}:{record[f'{end}_ref']}",
                "ref": record[f"{end}_ref"],
                "sha": record[end],
                "user": user(owner(repo)),
                "repo": self.about(repo),
            }
            for end, repo in (("head", self.home(record)), ("base", self.repository))
        }
        return {
            "id": number,
            "number": number,
            "state": record["state"],
            "draft": record.get("draft", False),
            "title": record["title"],
            "body": record["body"],
            "user": user(record.get("by") or owner(self.home(record))),
            "labels": [{"name": name} for name in record.get("labels", [])],
            **ends,
            "merged": record["merged_at"] is not None,
            "mergeable": record["merge"] is not None if record["state"] == "open" else None,
            "merged_at": record["merged_at"],
            "merge_commit_sha": record["merge"],
            "created_at": record["created_at"],
            "changed_files": len(self.changes(record)),
            "html_url": f"https://github.com/{self.repository}/pull/{number}",
        }

    def about(self, repository: str) -> dict[str, Any]:
        """A repository, this one or a fork of it, as the API names it."""
        fork, private = repository != self.repository, self.plan.private
        return describe(repository, fork=fork, private=private, default=self.default)

    def home(self, record: Mapping[str, Any]) -> str:
        """The repository that a pull request comes from."""
        other = record.get("fork")
        return f"{other}/{self.repository.partition('/')[2]}" if other else self.repository

    def merge(self, base: str, head: str, message: str) -> str | None:
        """A merge commit of two commits; None when they conflict."""
        return self.made(base, "merge", "--quiet", "--no-ff", "--message", message, head)

    def made(self, start: str, *command: str) -> str | None:
        """The commit that a command of git makes at another, in a clone that is thrown away; None when it
        fails."""
        with tempfile.TemporaryDirectory() as folder:
            git.run("clone", "--quiet", "--shared", "--no-checkout", str(self.origin), folder)
            git.run("checkout", "--quiet", "--detach", start, at=folder)
            if git.tried(*self.author, *command, at=folder).code:
                return None
            made = git.head(folder)
            git.run("push", "--quiet", "origin", f"+{made}:refs/stand-in/merge", at=folder)
            return made

    def changes(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Files between the merge base and the head."""
        base = record.get("merge_base") or self.git("merge-base", record["base"], record["head"])
        parts = self.git("diff", "--name-status", "--find-renames", "-z", base, record["head"]).split("\0")
        found = []
        while len(parts) > 1:
            kind = parts.pop(0)[:1]
            previous = {"previous_filename": parts.pop(0)} if kind == "R" else {}
            found.append({"filename": parts.pop(0), "status": FILES[kind], **previous})
        return found


Route = Callable[["Forge", dict[str, Any], dict[str, Any]], tuple[int, Any]]
ROUTES: list[tuple[str, re.Pattern[str], tuple[str, ...], Route]] = []


def route(method: str, path: str, *needs: str) -> Callable[[Route], Route]:
    """`needs`: the permissions one of which a token must have, such as `issues:read`; none is metadata."""
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path).replace("(?P<path>[^/]+)", "(?P<path>.+)")

    def register(function: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), needs, function))
        return function

    return register


@route("GET", "/git/ref/heads/{path}", "contents:read")
def get_branch(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    sha = forge.ask("rev-parse", "--verify", "--quiet", f"refs/heads/{at['path']}^0")
    return 200, {"ref": f"refs/heads/{at['path']}", "object": {"type": "commit", "sha": sha}}


@route("GET", "/git/trees/{sha}", "contents:read")
def get_tree(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """A tree, or that of a commit, with the trees in it where `recursive` is given, whatever its value."""
    deep = ["-r", "-t"] if "recursive" in at else []
    listed = forge.ask("ls-tree", "-z", *deep, "--end-of-options", at["sha"])
    entries = []
    for line in listed.split("\0")[:-1] if listed else []:
        about, _, path = line.partition("\t")
        mode, kind, sha = about.split()
        entries.append({"path": path, "mode": mode, "type": kind, "sha": sha})
    truncated = len(entries) > TREE_LIMIT
    return 200, {"sha": at["sha"], "tree": entries[:TREE_LIMIT], "truncated": truncated}


@route("GET", "/git/blobs/{sha}", "contents:read")
def get_blob(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    done = git.tried("cat-file", "blob", at["sha"], at=forge.origin)
    if done.code:
        raise ApiError(404, "Not Found")
    content = base64.encodebytes(done.out).decode()
    return 200, {"sha": at["sha"], "size": len(done.out), "encoding": "base64", "content": content}


@route("GET", "/git/commits/{sha}", "contents:read")
def get_commit(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    sha = forge.commit(at["sha"])
    parents = forge.git("rev-list", "--parents", "-1", sha).split()[1:]
    return 200, {"sha": sha, "parents": [{"sha": parent} for parent in parents]}


@route("GET", "/compare/{path}", "contents:read")
def compare(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """What the workflows read of a comparison: where the two part, and how far each is from there."""
    ends = [forge.commit(end) for end in at["path"].split("...", 1)]
    merge_base = forge.ask("merge-base", *ends, missing="No common ancestor between these two")
    behind, ahead = forge.git("rev-list", "--left-right", "--count", "...".join(ends)).split()
    state = {(True, True): "diverged", (True, False): "behind", (False, True): "ahead"}
    return 200, {
        "status": state.get((behind != "0", ahead != "0"), "identical"),
        "ahead_by": int(ahead),
        "behind_by": int(behind),
        "base_commit": {"sha": ends[0]},
        "merge_base_commit": {"sha": merge_base},
    }


@route("GET", "/pulls", "pull-requests:read")
def list_pulls(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    wanted = {"state": at.get("state", "open"), "head": at.get("head"), "base": at.get("base")}
    found = []
    for pull in map(forge.describe, reversed(forge.state["pulls"])):
        shown = {"state": pull["state"], "head": pull["head"]["label"], "base": pull["base"]["ref"]}
        if all(value in (None, "", "all", shown[field]) for field, value in wanted.items()):
            found.append(pull)
    return 200, found


@route("POST", "/pulls", "pull-requests:write")
def create_pull(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    (other, _, head), base = text(body, "head").rpartition(":"), text(body, "base")
    fork = other if other not in ("", owner(forge.repository)) else None
    pair = {"head_ref": head, "base_ref": base, "fork": fork}
    open_ones = ({"fork": None} | old for old in forge.state["pulls"] if old["state"] == "open")
    if any(pair.items() <= old.items() for old in open_ones):
        message = f"A pull request already exists for {other or owner(forge.repository)}:{head}."
        raise invalid(resource="PullRequest", message=message)
    ends = {"head": forge.commit(head_name(pair)), "base": forge.commit(base)}
    if ends["head"] == ends["base"]:
        raise invalid(resource="PullRequest", message=f"No commits between {base} and {head}")
    record = {"number": forge.next_id(), "title": text(body, "title"), "body": body.get("body")}
    record |= {**pair, **ends, "state": "open", "created_at": now(), "merged_at": None}
    record["draft"] = body.get("draft") is True
    if at["who"].rights is not None:
        if not forge.state["pulls by workflows"]:
            raise ApiError(403, "GitHub Actions is not permitted to create or approve pull requests.")
        record["by"] = at["by"]  # a workflow opened it
    elif at["by"].startswith("app-"):
        record["by"] = at["by"]  # which that setting does not hold back
    forge.state["pulls"].append(record)
    return 201, forge.describe(record)


@route("GET", "/pulls/{number}", "pull-requests:read")
def get_pull(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    return 200, forge.pull(at["number"])


@route("PATCH", "/pulls/{number}", "pull-requests:write")
def update_pull(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    record = forge.record(at["number"])
    record |= {key: body[key] for key in ("title", "body") if key in body}
    if body.get("base", record["base_ref"]) != record["base_ref"]:
        record |= {"base_ref": body["base"], "base": forge.commit(body["base"])}
        forge.happened(record["number"], "base_ref_changed", at["by"])
    if body.get("state") in ("open", "closed"):
        record["state"] = body["state"]
    return 200, forge.describe(record)


@route("GET", "/commits/{ref}/pulls", "pull-requests:read")
def pulls_of_commit(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    sha = forge.commit(at["ref"])
    found = [forge.describe(record) for record in forge.state["pulls"]]
    return 200, [pull for pull in found if sha in (pull["head"]["sha"], pull["merge_commit_sha"])]


def head_name(record: Mapping[str, Any]) -> str:
    return f"{record['fork']}:{record['head_ref']}" if record.get("fork") else str(record["head_ref"])


def one(records: Iterable[dict[str, Any]], field: str, number: int | str) -> dict[str, Any]:
    """The record of a number, which may be a part of a path; 404 when there is none."""
    for record in records:
        if str(record[field]) == str(number):
            return record
    raise ApiError(404, "Not Found")


def latest(forge: Forge, sha: str) -> list[dict[str, Any]]:
    """The newest status of each context."""
    return list({s["context"]: s for s in forge.state["statuses"] if s["sha"] == sha}.values())


def text(body: Mapping[str, Any], field: str) -> str:
    if not isinstance(value := body.get(field), str) or not value:
        raise invalid(field=field, code="missing_field")
    return value
