"""What a release is made of: the files of one commit, and the models that its dvc.lock names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.base import conflicts, git, recorded
from pipelines.base.errors import UserError

BENTOFILE = "bentofile.yaml"
LOCK = recorded.LOCK
MADE_OF = ("pipelines/", BENTOFILE, "dvc.yaml", "params.yaml", "requirements/serve.txt")
WAY_OUT = "run `ml reproduce`, then commit dvc.lock"


def files(repository: Path) -> list[Path]:
    """The files that bentofile.yaml includes, and itself. UserError where a pattern finds none."""
    found = {repository / BENTOFILE}
    for pattern in read(repository, BENTOFILE, "include", list):
        matched = [path for path in repository.glob(pattern) if path.is_file()]
        if not matched:
            made = f": {WAY_OUT}" if pattern.startswith("models/") else ""
            raise UserError(f"{pattern}, which {BENTOFILE} includes, does not exist{made}")
        found.update(matched)
    return sorted(found)


def read(root: Path, file: str, key: str, kind: type) -> Any:
    """What a YAML file says under a key. UserError where that is not of the kind."""
    try:
        value = yaml.safe_load((root / file).read_text(encoding="utf-8"))[key]
    except FileNotFoundError:
        raise UserError(f"{file} does not exist: run `ml` at the top of the repository") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        value = None
    if not isinstance(value, kind):
        raise UserError(f"{file} must be YAML with a {kind.__name__} `{key}`")
    return value


def check_clean(repository: Path) -> None:
    """UserError where a file that makes the release is not, byte for byte, as the commit has it.

    The files themselves are read: git's index hides what is ignored, or marked skip-worktree, and shows a
    staged rename under its new name alone. The models are not in the commit: `check_models` holds them
    against its dvc.lock."""
    committed = git.tree("HEAD", *MADE_OF, at=repository)
    there = {path.relative_to(repository).as_posix() for path in _taken(repository)}
    named = sorted(committed.keys() | {name for name in there if not name.startswith("models/")})
    top = repository.resolve()  # what a link leads to, or names, is not a part of the commit
    plain = [name for name in named if (path := top / name).is_file() and path.resolve() == path]
    hashes = dict(zip(plain, git.hashes(plain, repository), strict=True))
    if wrong := [name for name in named if name not in committed or hashes.get(name) != committed[name]]:
        other = f"{wrong[0]} is not as the commit has it, and a release is a commit"
        raise UserError(f"{other}: commit or remove it first")


def _taken(repository: Path) -> list[Path]:
    """Whatever the Bento would take, and what is where Python finds the code."""
    patterns = (*read(repository, BENTOFILE, "include", list), "pipelines/**/*")
    found = (path for pattern in patterns for path in repository.glob(pattern))
    files = (path for path in found if path.is_symlink() or not path.is_dir())
    return [path for path in files if path.parent.name != "__pycache__"]


def locked(repository: Path) -> bytes:
    """The commit's dvc.lock. UserError where it has none."""
    if (content := git.blob("HEAD", LOCK, repository)) is None:
        raise UserError(f"{LOCK} is not in the commit: {WAY_OUT}")
    return content


def check_models(repository: Path, also: Mapping[str, str], prepared: bool = True) -> None:
    """UserError where models/, the prepared data, the code or params.yaml is another one than dvc.lock's.

    `also` has the MD5 of files that count as well; `prepared`: that the data are here."""
    for name in ("params.yaml", "data.dvc"):
        conflicts.refuse(repository / name)
    stages = recorded.stages(locked(repository))
    for path, md5 in recorded.files(stages):
        if path.startswith("models/") or (prepared and path.startswith("build/prepared")):
            known = {md5, also.get(path, md5)}
            _check_file(repository / path, path, known, f"is not the one that {LOCK} names")
    for path, md5 in recorded.files(stages, "deps"):
        if path.startswith("pipelines/"):
            _check_file(repository / path, path, {md5}, "has changed since the model was made")
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    for stage in stages.values():
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            found = params
            for part in key.split("."):
                found = found.get(part) if isinstance(found, dict) else None
            if found != value:
                raise UserError(f"params.yaml: {key} has changed since the model was made: {WAY_OUT}")


def _check_file(path: Path, name: str, known: set[str], fault: str) -> None:
    if not path.is_file():
        raise UserError(f"{name} does not exist: {WAY_OUT}")
    if recorded.md5(path) not in known:
        raise UserError(f"{name} {fault}: {WAY_OUT}")
