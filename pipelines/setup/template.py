"""The template that a repository is a copy of: where it is, its versions, and which of them the copy is of.

"Use this template" leaves no common history: the copy begins with a commit that has a version's files. An
update has the template's commit as its second parent, and names it in its message, for who squashes.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipelines.base import git
from pipelines.base.errors import UserError, few
from pipelines.setup import where

REFS = "refs/greenlight/template"  # while an update looks at them: the template's tags are not the team's
VERSION = re.compile(r"v?(\d+(?:\.\d+)*)")  # a tag that is one; those of releases are not
LOOKED_AT = 500  # versions, for the one that is nearest
HALF = 0.5  # of the first commit's files: who has fewer of them is no copy


@dataclass(frozen=True)
class Version:
    """One of the template, as somebody names it."""

    name: str
    commit: str
    address: str  # of the template

    @property
    def words(self) -> str:
        return self.commit[:12] if self.commit.startswith(self.name) else f"{self.name} ({self.commit[:12]})"

    @property
    def message(self) -> str:
        """Of the commit that brings it; what `address` and `base` read again."""
        told = f"Template-Commit: {self.commit}"
        if url := _public(self.address):
            told = f"Template: {url}\n{told}"
        return f"Update to {self.name} of the template\n\n{told}\n"


def address() -> str:
    """Where the template is: as the last update says, else GitHub. UserError where neither knows."""
    if said := _told("Template", r"\S+"):
        return said[0]
    way_out = "name it, `--from URL`: the update records it for the next one"
    try:
        found = where.found().hub().call("GET", "").get("template_repository")
    except UserError as error:
        raise UserError(
            f"no commit here says where the template is, nor does GitHub ({error}): {way_out}"
        ) from None
    if not found:
        raise UserError(f"neither a commit here nor GitHub says of which template this is a copy: {way_out}")
    return str(found["clone_url"])


@contextmanager
def fetched(address: str, to: str = "") -> Iterator[Version]:
    """The version `to`, a tag, a branch or a commit, by default the newest tag that is a version, else the
    default branch; all of the template is here while the block runs. UserError where there is none."""
    _forget()
    kinds = ("HEAD", "heads/*", "tags/*")
    names = [f"+{'' if kind == 'HEAD' else 'refs/'}{kind}:{REFS}/{kind}" for kind in kinds]
    try:
        done = git.tried("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", address, *names)
        if done.code:
            raise UserError(f"the template at {_public(address) or address} cannot be fetched: {done.words}")
        yield _version(address, to)
    finally:
        _forget()


def base(version: Version, head: str, given: str = "") -> str:
    """The newest version that `head` has all of: what an update starts from. `given` names it where the copy
    does not. UserError where it cannot be told."""
    if given:
        return _version(version.address, given, "--base").commit
    merged = git.merge_base(head, version.commit)
    told = _told("Template-Commit", "[0-9a-f]{40,64}")
    known = [commit for commit in (merged, *told) if commit and git.is_ancestor(commit, version.commit)]
    if known:
        newest = (one for one in known if all(git.is_ancestor(other, one) for other in known))
        return next(newest, known[0])
    versions = dict(_pairs(f"--glob={REFS}"))
    for tree, _ in _pairs(head):
        if tree in versions:
            return git.merge_base(versions[tree], version.commit) or versions[tree]
    raise UserError(_nearest(version, head, list(versions.values())))


def _version(address: str, name: str, option: str = "--to") -> Version:
    tags = git.run("for-each-ref", "--format=%(refname:lstrip=4)", f"{REFS}/tags").split()
    numbered = {
        tag: [int(n) for n in found[1].split(".")] for tag in tags if (found := VERSION.fullmatch(tag))
    }
    if not name:
        newest = max(numbered, key=lambda tag: numbered[tag], default=None)
        place = f"tags/{newest}" if newest else "HEAD"
        commit = git.commit(f"{REFS}/{place}")
        assert commit, place
        return Version(newest or commit[:12], commit, address)
    for place in (f"{REFS}/tags/{name}", f"{REFS}/heads/{name}"):
        if commit := git.commit(place):
            return Version(name, commit, address)
    if re.fullmatch("[0-9a-f]{7,64}", name) and (commit := git.commit(name)) and _holds(commit):
        return Version(commit[:12], commit, address)
    known = sorted(numbered, key=lambda tag: numbered[tag], reverse=True)
    has = f"; its newest versions are {few(known)}" if known else ""
    where = _public(address) or address
    raise UserError(f"{option} {name!r} is no tag, branch or commit of the template at {where}{has}")


def _holds(commit: str) -> bool:
    """Whether it is one of the template's."""
    return bool(git.run("for-each-ref", "--count=1", f"--contains={commit}", REFS))


def _pairs(*which: str) -> Iterator[tuple[str, str]]:
    """The tree and the id of each commit, the newest first; of two with one tree, the newest counts."""
    seen = set()
    for line in git.run("log", "--format=%T %H", *which).splitlines():
        tree, _, commit = line.partition(" ")
        if tree not in seen:
            seen.add(tree)
            yield tree, commit


def _told(field: str, value: str) -> list[str]:
    """What the messages of the updates so far say, the newest first."""
    said = git.run("log", f"--grep=^{field}: ", "--format=%B")
    return re.findall(rf"^{field}: ({value})$", said, re.MULTILINE)


def _nearest(version: Version, head: str, versions: list[str]) -> str:
    """Why no version is the one that the copy began with, and which has most of its files."""
    first = git.run("rev-list", "--max-parents=0", head).split()[-1]
    files = set(git.tree(first).items())
    same = {commit: len(files & set(git.tree(commit).items())) for commit in versions[:LOOKED_AT]}
    best = max(same, key=lambda commit: same[commit])
    where = _public(version.address) or version.address
    if same[best] < HALF * len(files):
        return (
            f"this repository is not a copy of the template at {where}: its first commit ({first[:12]}) has "
            "the files of no version: name another, `--from URL`"
        )
    return (
        f"no version of the template has all files of this copy's first commit ({first[:12]}); "
        f"{same[best]} of {len(files)} are those of {best[:12]}: where it is a copy of that, say "
        f"`--base {best[:12]}`"
    )


def _public(address: str) -> str:
    """An address without a login; empty for a folder of this machine, which says nothing elsewhere."""
    parts = urlsplit(address)
    if not parts.scheme or not parts.hostname:
        found = re.fullmatch(r"[\w.-]+@[\w.-]+:\S+", address)
        return found[0] if found else ""
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    user = "git@" if parts.scheme == "ssh" else ""
    return f"{parts.scheme}://{user}{host}{parts.path}"


def _forget() -> None:
    """Also what a killed update left."""
    names = git.run("for-each-ref", "--format=delete %(refname)", REFS)
    if names:
        git.run("update-ref", "--stdin", text=f"{names}\n")
