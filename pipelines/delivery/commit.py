"""What a release is made of: the files of one commit, and the models that its dvc.lock names."""

import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import UserError

BENTOFILE = "bentofile.yaml"
LOCK = "dvc.lock"
WAY_OUT = "run `ml reproduce`, then commit dvc.lock"


def files(repository: Path) -> list[Path]:
    """The files that bentofile.yaml includes, and itself. UserError where a pattern finds none."""
    try:
        patterns = yaml.safe_load((repository / BENTOFILE).read_text(encoding="utf-8"))["include"]
    except FileNotFoundError:
        raise UserError(f"{BENTOFILE} does not exist: run `ml` at the top of the repository") from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise UserError(f"{BENTOFILE} must be YAML with the list `include`") from None
    found = {repository / BENTOFILE}
    for pattern in patterns:
        matched = [path for path in repository.glob(pattern) if path.is_file()]
        if not matched:
            made = f": {WAY_OUT}" if pattern.startswith("models/") else ""
            raise UserError(f"{pattern}, which {BENTOFILE} includes, does not exist{made}")
        found.update(matched)
    return sorted(found)


def head(repository: Path) -> str:
    """The commit that is checked out."""
    return _git(repository, "rev-parse", "HEAD").strip()


def check_clean(repository: Path) -> None:
    """UserError where a file that makes the release is not as the commit has it.

    The models are not in the commit: `check_models` holds them against its dvc.lock.
    """
    changed = [line[3:] for line in _git(repository, "status", "--porcelain").splitlines()]
    made_of = ("pipelines/", BENTOFILE, "dvc.yaml", "params.yaml", "requirements/serve.txt")
    if found := [path for path in changed if path.strip('"').startswith(made_of)]:
        raise UserError(
            f"{found[0]} is not as the commit has it, and a release is a commit: commit or remove it first"
        )


def locked(repository: Path) -> bytes:
    """The commit's dvc.lock. UserError where it has none."""
    if not _git(repository, "ls-files", LOCK):
        raise UserError(f"{LOCK} is not in the commit: {WAY_OUT}")
    return _git(repository, "show", f"HEAD:./{LOCK}").encode()


def check_models(repository: Path, also: Mapping[str, str], prepared: bool = True) -> None:
    """UserError where models/, the prepared data, the code or params.yaml is another one than dvc.lock's.

    `also` has the MD5 of files that count as well; `prepared`: that the data are here.
    """
    stages = stages_of(locked(repository))
    for path, md5 in _files_of(stages, "outs"):
        if path.startswith("models/") or (prepared and path.startswith("build/prepared")):
            known = {md5, also.get(path, md5)}
            _check_file(repository / path, path, known, f"is not the one that {LOCK} names")
    for path, md5 in _files_of(stages, "deps"):
        if path.startswith("pipelines/"):
            _check_file(repository / path, path, {md5}, "has changed since the model was made")
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    for stage in stages.values():
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            if _at(params, key) != value:
                raise UserError(f"params.yaml: {key} has changed since the model was made: {WAY_OUT}")


def _check_file(path: Path, name: str, known: set[str], fault: str) -> None:
    if not path.is_file():
        raise UserError(f"{name} does not exist: {WAY_OUT}")
    if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() not in known:
        raise UserError(f"{name} {fault}: {WAY_OUT}")


def stages(lock: Path) -> dict[str, Any]:
    """The stages of a dvc.lock. UserError where it is none."""
    try:
        return stages_of(lock.read_bytes())
    except OSError:
        raise UserError(f"{lock} is not one that DVC wrote: {WAY_OUT}") from None


def stages_of(content: bytes) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load(content)["stages"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(f"{LOCK} is not one that DVC wrote: {WAY_OUT}") from None


def outputs(stages: dict[str, Any]) -> dict[str, str]:
    """The MD5 of each file that the stages make."""
    return dict(_files_of(stages, "outs"))


def _files_of(stages: dict[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    for stage in stages.values():
        for entry in stage.get(kind, ()):
            if not str(entry.get("md5", ".dir")).endswith(".dir"):
                yield str(entry["path"]), str(entry["md5"])


def _at(value: Any, key: str) -> Any:
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _git(repository: Path, *command: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *command], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"git {command[0]} failed in {repository.resolve()}: {' '.join(done.stderr.split())}")
    return done.stdout
