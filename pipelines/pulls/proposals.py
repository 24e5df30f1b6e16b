"""A pull request as GitHub has it now: its head, its base's newest commit, and what is between these two.
Runs, artifacts and events come from strangers, late or twice: whoever speaks of a proposal asks GitHub for it
by its head, and takes both SHAs along."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import write_bytes
from pipelines.base.github import GitHub

GATE, OVERRIDE = "greenlight/gate", "greenlight/override"
PLAIN = "100644"  # the mode of a file that is neither executable nor a link
BLOB_BYTES = 1_000_000  # of a file that is read
QUEUE = re.compile(r"gh-readonly-queue/(.+)/pr-(\d+)-([0-9a-f]{40})")  # a merge queue's branch of a group
FILES = ("params.yaml", "dvc.lock", "data.dvc")  # of a candidate, that need nobody's word but the commit's


class Cut(Exception):
    """GitHub's answer is not the whole one, so nothing may be concluded from it."""


@dataclass(frozen=True)
class Head:
    """What a pull request proposes: a commit, on a branch, of a repository (None: a fork since deleted)."""

    sha: str
    branch: str
    repository: str | None

    @classmethod
    def of_pull(cls, pull: Mapping[str, Any]) -> "Head":
        head = pull["head"]
        return cls(head["sha"], head["ref"], (head["repo"] or {}).get("full_name"))

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> "Head":
        repository = (run["head_repository"] or {}).get("full_name")
        return cls(run["head_sha"], run["head_branch"], repository)


@dataclass(frozen=True)
class Proposal:
    """An open pull request: a head onto a branch's newest commit. Or the group that a merge queue has made of
    one: `head` is the merged commit, `parent` what it is merged into, `proposed` the pull request's own
    head."""

    number: int
    head: Head
    base: str
    base_sha: str
    default: str  # the repository's default branch, for which alone the gate speaks
    draft: bool = False
    parent: str = ""
    proposed: Head | None = None

    @property
    def judged(self) -> bool:
        """Whether the gate judges it."""
        return self.base == self.default

    @property
    def context(self) -> str:
        """The commit status that speaks of it: another base has another one, on the same commit."""
        return GATE if self.judged else f"{GATE} ({self.base})"

    @property
    def behind_another(self) -> bool:
        """Whether it is a group on top of one that is not merged yet."""
        return self.parent not in ("", self.base_sha)


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its mode and the SHA of its bytes."""

    mode: str
    sha: str


@dataclass(frozen=True)
class Changes:
    """All files of two commits: where the head left the base, and the head."""

    before: Mapping[str, Entry]
    after: Mapping[str, Entry]
    read: Callable[[Entry | None], bytes]  # a plain file; UserError for anything else, and for a large one
    behind: bool = False  # the base went on since the head left it

    @cached_property
    def paths(self) -> list[str]:
        """What differs; a moved file is there under both names."""
        names = sorted({*self.before, *self.after})
        return [name for name in names if self.before.get(name) != self.after.get(name)]


def find(github: GitHub, head: Head) -> list[Proposal]:
    """The open pull requests with this head: same commit, same branch, same repository; one for each base.
    Of the branch of a merge queue its group."""
    if is_group(github, head):
        return [found] if (found := group(github, head)) else []
    owner = (head.repository or "").partition("/")[0]
    asked = f"/pulls?state=open&head={quote(f'{owner}:{head.branch}', safe=':')}"
    fit = [pull for pull in github.list(asked) if Head.of_pull(pull) == head]
    return [found for pull in fit if (found := read(github, pull))]


def is_group(github: GitHub, head: Head) -> bool:
    """Whether it is on the branch of a group: GitHub keeps that name for itself, in a repository of ours."""
    return head.repository == github.repository and bool(QUEUE.fullmatch(head.branch))


def again(github: GitHub, proposal: Proposal) -> Proposal | None:
    """The same pull request as it is at this moment; None where it is closed. Of a group, where its branch is
    gone."""
    if proposal.proposed:
        return group(github, proposal.head)
    pull = github.call("GET", f"/pulls/{proposal.number}")
    return read(github, pull) if pull["state"] == "open" else None


def group(github: GitHub, head: Head) -> Proposal | None:
    """The group of a merge queue as GitHub has it now; None where the queue has no longer this one."""
    if (named := QUEUE.fullmatch(head.branch)) is None:
        return None
    base, number, parent = named.groups()
    here, tip = (
        github.call("GET", f"/git/ref/heads/{quote(name)}", missing={}).get("object", {}).get("sha")
        for name in (head.branch, base)
    )
    pull = github.call("GET", f"/pulls/{number}", missing={})
    if here != head.sha or tip is None or not pull:
        return None
    default = pull["base"]["repo"]["default_branch"]
    return Proposal(int(number), head, base, tip, default, False, parent, Head.of_pull(pull))


def read(github: GitHub, pull: Mapping[str, Any]) -> Proposal | None:
    """A pull request that the API gave; None where its base is gone. `base.sha` there may be an old one."""
    base = pull["base"]
    tip = github.call("GET", f"/git/ref/heads/{quote(base['ref'])}", missing={})
    if tip.get("ref") != f"refs/heads/{base['ref']}":
        return None
    default = base["repo"]["default_branch"]
    ends = (Head.of_pull(pull), base["ref"], tip["object"]["sha"])
    return Proposal(pull["number"], *ends, default, pull["draft"])


def changes(github: GitHub, proposal: Proposal) -> Changes:
    """What the proposal changes since it left its base, a group what it adds to its parent."""
    return between(github, proposal.parent or proposal.base_sha, proposal.head.sha)


def between(github: GitHub, base: str, head: str) -> Changes:
    """What a head changes since it left a base, by the two SHAs alone. Cut where GitHub lists less.
    Files come from the two commits' trees, whole and with their modes: the compare itself lists no more than
    300 of them, and calls a link a file."""
    compared = github.call("GET", f"/compare/{base}...{head}?per_page=1")
    left = compared["merge_base_commit"]["sha"]
    return Changes(files(github, left), files(github, head), partial(content, github), left != base)


def files(github: GitHub, commit: str) -> dict[str, Entry]:
    """All files, links and submodules of a commit."""
    tree = github.call("GET", f"/git/trees/{commit}?recursive=1")
    if tree["truncated"]:
        raise Cut(f"GitHub does not list all files of {commit[:12]}")
    return {e["path"]: Entry(e["mode"], e["sha"]) for e in tree["tree"] if e["type"] != "tree"}


def candidate(folder: Path, head: str) -> None:
    """`ml ci candidate`: replace FILES in `folder` by those of the commit `head`, as GitHub has them: the
    build ran the proposal's own code, and may say otherwise than what is merged. UserError where
    the commit has one that is a link, a folder or very large, or none."""
    if not re.fullmatch(r"[0-9a-f]{40}", head):
        raise UserError(f"--head is {head!r}, not a commit's SHA")
    github = GitHub.from_environment()
    listed = files(github, head)
    for name in FILES:
        try:
            write_bytes(folder / name, content(github, listed.get(name)))
        except (UserError, OSError) as error:
            raise UserError(f"{name} of {head[:12]} cannot be judged: {error}") from None
    step(f"{', '.join(FILES)} are those of {head[:12]}")


def content(github: GitHub, entry: Entry | None) -> bytes:
    """The bytes of a plain file. UserError for anything else, and for a large one."""
    if entry is None or entry.mode != PLAIN:
        raise UserError("it is not a plain file")
    blob = github.call("GET", f"/git/blobs/{entry.sha}")
    if blob["size"] > BLOB_BYTES or blob["encoding"] != "base64":
        raise UserError(f"it is larger than {BLOB_BYTES:,} bytes")
    return base64.b64decode(blob["content"])
