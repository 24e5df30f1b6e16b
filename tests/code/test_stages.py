"""dvc.lock is of the code that is here; what of it a stage reads, `ml lint` compares (test_lists.py)."""

import copy
import hashlib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CODE = ("pipelines/", "requirements/")
STAGES, LOCKED = (yaml.safe_load((ROOT / name).read_text())["stages"] for name in ("dvc.yaml", "dvc.lock"))


def outdated(locked: dict) -> set[str]:
    """The code that dvc.yaml's deps and a dvc.lock's do not both name, with the bytes that are here."""
    here = {(name, dep, md5(dep)) for name, stage in STAGES.items() for dep in stage["deps"]}
    there = {(name, dep["path"], dep["md5"]) for name, stage in locked.items() for dep in stage["deps"]}
    return {path for _, path, _ in here ^ there if path.startswith(CODE)}


def md5(path: str) -> str:
    return hashlib.md5((ROOT / path).read_bytes()).hexdigest() if path.startswith(CODE) else ""


def test_dvc_lock_is_of_this_code() -> None:
    assert not outdated(LOCKED), "run `ml reproduce` and commit dvc.lock"


@pytest.mark.parametrize("what", ["edited", "lost", "moved"])
def test_code_that_is_not_as_dvc_lock_has_it_is_found(what: str) -> None:
    locked = copy.deepcopy(LOCKED)
    deps = locked["train"]["deps"]
    (dep,) = [dep for dep in deps if dep["path"] == "pipelines/training/train.py"]
    if what == "lost":
        deps.remove(dep)
    dep |= {"edited": {"md5": "0" * 32}, "moved": {"path": "pipelines/training/fit.py"}}.get(what, {})
    moved = {"pipelines/training/fit.py"} if what == "moved" else set()
    assert outdated(locked) == {"pipelines/training/train.py"} | moved
