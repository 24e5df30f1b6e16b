"""A release is what a merged commit holds: looked at before anything of it runs.

The commit must be one that the default branch was at, not only one in its history: what a proposal's own
commits held on the way was never reviewed.
"""

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

from pipelines.artifacts.entry import Entry
from pipelines.artifacts.release import Release
from pipelines.base import git, recorded
from pipelines.base.errors import UserError
from pipelines.base.files import sha256, sha256_of_tree
from pipelines.registry.ledger import Unreachable

BENTOFILE, LOCK, MODEL = "bentofile.yaml", recorded.LOCK, "models/model.onnx"
CARD = "card.md"  # for people; it names the version in MLflow, which the same release made again may not keep
LATER = ("created", "image")  # of release.json: another each time, or noted later
AGAIN = "remove it and add it again as `ml release` made it, or write the entry again with `ml release`"


def check(entry: Entry, folder: Path, repository: Path | str = ".") -> None:
    """UserError where the release in `folder` is not what its commit holds, or the commit was not merged.

    Code, lock and service are the commit's by their blobs. The models are those of its dvc.lock, or, where
    they were made again and answered as the judged one, that which the entry names by its SHA-256. What is
    beside the Bento is what the entry names."""
    require_merged(entry.commit, repository)
    source, at = folder / "bento" / "src", f"of the commit {entry.commit[:12]}"
    files = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
    name = f"release {entry.release[:12]}"
    held = git.tree(entry.commit, at=repository)
    code = {path: file for path, file in files.items() if not path.startswith("models/")}
    by_hand = "it was not made by `ml release`"
    if strange := sorted(set(code) - set(held)):
        raise UserError(f"{name} holds {strange[0]!r}, which is not a file {at}: {by_hand}")
    blobs = git.hashes([str(path.resolve()) for path in code.values()], repository)
    for path, blob in zip(code, blobs, strict=True):
        if blob != held[path]:
            raise UserError(f"{name}: {path} is not the one {at}: {by_hand}")
    _check_models(files, entry, git.blob(entry.commit, LOCK, at=repository), name, at)
    if why := another_start(folder):
        raise UserError(f"{name}: {why}")
    if entry.beside is not None and digest(folder) != entry.beside:
        what = f"{name}: evidence/ or release.json in {folder}"
        raise UserError(f"{what} is not what the ledger's entry names: {AGAIN}")


def require_merged(commit: str, repository: Path | str = ".") -> None:
    """UserError where the default branch was never at the commit; Unreachable where origin is."""
    branch, head = _default(repository)
    if git.commit(head, at=repository) is None:
        options = ("--quiet", "--no-tags", "--no-write-fetch-head")
        fetched = git.tried("fetch", *options, "origin", branch, at=repository)
        if fetched.code:
            raise UserError(f"the branch {branch} cannot be fetched from origin: {fetched.words}")
    if commit not in git.run("rev-list", "--first-parent", head, at=repository).split():
        short = branch.removeprefix("refs/heads/")
        why = f"the commit {commit[:12]} was never the head of origin's branch {short}"
        way_out = "push it there, or run `ml release` at its head"
        raise UserError(f"{why}, and only what was merged there is released: {way_out}")


def default_branch(repository: Path | str = ".") -> str:
    """Origin's default branch, refs/heads/NAME. Unreachable where origin is."""
    return _default(repository)[0]


def _default(repository: Path | str) -> tuple[str, str]:
    """Origin's default branch, and its commit there now."""
    try:
        named, head = git.default_branch(at=repository)
    except git.Failed as error:
        raise Unreachable(
            f"the remote origin cannot be reached ({error}): it has the default branch"
        ) from None
    if head is None:
        short = named.removeprefix("refs/heads/")
        raise UserError(f"origin has no branch {short}: push what was merged there")
    return named, head


def _check_models(files: Mapping[str, Path], entry: Entry, lock: bytes | None, name: str, at: str) -> None:
    models = {path: file for path, file in files.items() if path.startswith("models/")}
    locked: dict[str, str] = {}
    with contextlib.suppress(UserError):
        locked = recorded.outputs(recorded.stages(lock or b""))
    if strange := sorted(set(models) - set(locked)):
        raise UserError(f"{name} holds {strange[0]!r}, which {LOCK} {at} does not name")
    other = sorted(path for path, file in models.items() if recorded.md5(file) != locked[path])
    made_again = MODEL in models and entry.evidence.get("sha256") == sha256(models[MODEL])
    if other and not made_again:
        fault = f"{other[0]} is not the one that {LOCK} {at} names, nor one that the ledger names"
        raise UserError(f"{name}: {fault}")


def another_start(folder: Path) -> str | None:
    """Why the release in a folder would not start as it was made: what BentoML starts by is not in the id. It
    says what the commit's file says, no more."""
    files = (folder / "bento" / "bento.yaml", folder / "bento" / "src" / BENTOFILE)
    try:
        said, meant = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in files)
        same = said["service"] == meant["service"]
        more = any(said.get(key) for key in ("envs", "models", "args"))
        more |= any(one.get(key) for one in said.get("services") or () for key in ("models", "dependencies"))
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return f"bento.yaml or {BENTOFILE} is not what `ml release` writes"
    if same and not more:
        return None
    return f"bento.yaml starts another service than {BENTOFILE} does, or with more"


def digest(folder: Path) -> str:
    """SHA-256 of what is in a release's folder beside the Bento, evidence/ and release.json, less what making
    it again changes. The release's id does not cover them, and they steer SHADOW and the drift check: so the
    ledger's entry, which is signed, names it, and a host compares."""
    about = Release.read(folder)
    said = {name: value for name, value in about.value.items() if name not in LATER}
    said["model"] = {"sha256": about.model.sha256}
    held = json.dumps([said, evidence(folder / "evidence")], sort_keys=True)
    return hashlib.sha256(held.encode()).hexdigest()


def evidence(folder: Path, but: Collection[str] = ()) -> str:
    """SHA-256 of what is in evidence/, less the card, and less files of these names."""
    left = {CARD, *but}
    return sha256_of_tree(folder, [p for p in folder.rglob("*") if p.is_file() and p.name not in left])
