"""A commit made without a worktree: another one, but for one file at its top, signed where there is a key."""

import os
from pathlib import Path

from pipelines.base import git
from pipelines.registry.signer import Person
from pipelines.registry.signing import Key

FALLBACK = {"NAME": "greenlight", "EMAIL": "greenlight@users.noreply.github.com"}
ROLES = ("AUTHOR", "COMMITTER")


def committed(
    old: str | None, name: str, text: str, message: str, own: Key | Person | None, moment: int, at: Path
) -> str:
    """The id of a commit on top of `old`, or a first one, whose file `name` has this text; `own` signs it.
    `moment`: when it says that it was made, in seconds since the epoch."""
    blob = git.run("hash-object", "-w", "--stdin", at=at, text=text)
    listed = git.run("ls-tree", "-z", "--full-tree", old, at=at).split("\0") if old else []
    kept = [line for line in listed if line and line.partition("\t")[2] != name]
    tree = git.run("mktree", "-z", at=at, text="\0".join([*kept, f"100644 blob {blob}\t{name}"]) + "\0")
    parent = ["-p", old] if old else []
    # names for what git has not been told: a runner has no user.name
    unset = [field for field in FALLBACK if git.config(f"user.{field.lower()}", at=at) is None]
    names = {f"GIT_{role}_{field}": FALLBACK[field] for role in ROLES for field in unset}
    names = {name: os.environ.get(name, fallback) for name, fallback in names.items()}
    dates = {f"GIT_{role}_DATE": f"{moment} +0000" for role in ROLES}
    made = git.run("commit-tree", tree, *parent, "-m", message, at=at, given=names | dates)
    if own is None:
        return made
    content = git.tried("cat-file", "commit", made, at=at).ended(at).out
    signed = own.sign(content).decode("utf-8", "surrogateescape")
    return git.run("hash-object", "-t", "commit", "-w", "--stdin", at=at, text=signed)
