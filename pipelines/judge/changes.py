"""Which code a proposal was built with: the base's own, or its. Asked of Git, never of what a build left."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.base import git, programs

ROOM = "pipelines/problem/"
NOT_FEATURES = (f"{ROOM}estimators.py", f"{ROOM}rules.py")
MAKE_FEATURES = ("prepare",)  # stages of dvc.yaml, whose dependencies say what makes features, and a model
MAKE_MODELS = ("prepare", "train", "verify")
MAKE_FIGURES = (*MAKE_MODELS, "evaluate")
REGULAR = ("100644", "100755")  # modes of a file that is neither a link nor a submodule


@dataclass(frozen=True)
class Changes:
    """What a proposal's commit changes of the code that makes its candidate."""

    known: bool = True  # the commit is at hand
    features: tuple[str, ...] = ()  # files that differ from the base's, of those that make features
    training: tuple[str, ...] = ()  # of those that make a model, the former among them
    figures: tuple[str, ...] = ()  # of those that make what ships beside a model, beyond the latter
    behind: tuple[str, ...] = ()  # of all these, those that the proposal only lacks the base's changes to
    data: bool = False  # data.dvc names other data


def of(base: Path, head: str | None) -> Changes:
    """The changes of the commit `head` against the checkout `base`; without one, none: the base's code is
    what an author is held to who names no other."""
    if head is None:
        return Changes()
    if git.commit(head, at=base) is None and git.remote_url(at=base) is not None:  # never checked out
        git.tried("fetch", "--quiet", "--no-tags", "origin", head, at=base)
    if git.commit(head, at=base) is None:
        return Changes(known=False)
    differs = git.changes(git.head(base), head, at=base)
    since = git.merge_base(git.head(base), head, at=base)
    proposed = set(git.changes(since, head, at=base)) if since else set(differs)
    training = _among(differs, MAKE_MODELS)
    made_of = _among(differs, MAKE_FIGURES)
    return Changes(
        features=_among(differs, MAKE_FEATURES),
        training=training,
        figures=tuple(path for path in made_of if path not in training),
        behind=tuple(path for path in made_of if path not in proposed),
        data="data.dvc" in differs,
    )


def file(base: Path, head: str, path: str) -> tuple[bytes | None, str]:
    """A file's bytes as the commit has it, and why there are none: ("...", "") or (None, "is a link")."""
    listed = git.run("ls-tree", "-z", "--full-tree", head, "--", path, at=base).strip("\0")
    if not listed:
        return None, "is not there"
    if listed.split()[0] not in REGULAR:
        return None, "is a link or a folder, and must be a file"
    return git.blob(head, path, at=base), ""


def _among(paths: Collection[str], stages: Iterable[str]) -> tuple[str, ...]:
    """Those of the paths of which the stages are made, by the judge's own dvc.yaml; the team's room whole."""
    told = yaml.safe_load((programs.CODE / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    code = {path for stage in stages for path in told[stage]["deps"]}
    made_of = {path for path in code if path.startswith(("pipelines/", "requirements/"))}
    made_of |= {"dvc.yaml", "requirements/train.txt"}
    room = {path for path in paths if path.startswith(ROOM) and not path.endswith(".md")}
    return tuple(path for path in paths if path in made_of or path in room.difference(NOT_FEATURES))
