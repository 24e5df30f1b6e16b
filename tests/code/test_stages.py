"""dvc.yaml names all of this repository that a stage reads, so that a change of any makes it run anew."""

import ast
import hashlib
from pathlib import Path

import pytest
import yaml

from tests.code.test_architecture import ROOT, imports_of

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ROOMS = {"card": "report"}  # the others lie in training/
ALL_STAGES = {
    "pipelines/core/params.py",
    "requirements/train.txt",
}  # what its command reads, and the packages
# What a run prints, and where it is logged, changes no file that a stage leaves.
SILENT = {"pipelines/base/console.py", "pipelines/base/errors.py", "pipelines/training/tracking.py"}


def entry(stage: str) -> str:
    return f"pipelines/{ROOMS.get(stage, 'training')}/{stage}.py"


def reads(file: str) -> set[str]:
    """The modules of pipelines/ that `file` imports, and theirs; the packages' own files are empty."""
    found: set[str] = set()
    waiting = {file}
    while waiting:
        found |= waiting
        waiting = {other for one in waiting for other in imported(ROOT / one)} - found - SILENT
    return found


def imported(file: Path) -> set[str]:
    names = {name.replace(".", "/") for name in imports_of(file.read_text())}
    names |= {name.rpartition("/")[0] for name in names}  # `from a.module import name` is of a/module.py
    return {f"{name}.py" for name in names if (ROOT / f"{name}.py").is_file()}


def difference(stage: str, deps: list[str]) -> set[str]:
    code = {dep for dep in deps if dep.endswith((".py", ".txt"))}
    return code ^ (reads(entry(stage)) | ALL_STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_what_it_imports(stage: str) -> None:
    assert difference(stage, STAGES[stage]["deps"]) == set(), (
        "dvc.yaml, then `ml reproduce` and commit dvc.lock"
    )


@pytest.mark.parametrize(
    "lost", ["pipelines/training/months.py", "pipelines/core/params.py", "requirements/train.txt"]
)
def test_a_forgotten_dependency_would_be_found(lost: str) -> None:
    deps = [dep for dep in STAGES["train"]["deps"] if dep != lost]
    assert difference("train", deps) == {lost}


def test_a_package_s_own_file_holds_no_code() -> None:
    """Importing a module runs these too, and dvc.yaml does not name them."""
    for file in {parent / "__init__.py" for stage in STAGES for parent in (ROOT / entry(stage)).parents}:
        if file.is_file():
            body = ast.parse(file.read_text()).body
            assert all(isinstance(node, ast.Expr) for node in body), f"{file} holds more than its docstring"


def outdated(lock: dict) -> set[str]:
    """The code that has changed since the stages of a dvc.lock ran."""
    deps = [dep for stage in lock["stages"].values() for dep in stage.get("deps", ())]
    files = {dep["path"]: dep["md5"] for dep in deps if (ROOT / dep["path"]).is_file()}
    return {path for path, md5 in files.items() if hashlib.md5((ROOT / path).read_bytes()).hexdigest() != md5}


def test_dvc_lock_is_of_this_code() -> None:
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())
    assert not outdated(lock), "run `ml reproduce` and commit dvc.lock"
    lock["stages"]["train"]["deps"][0] = {"path": "dvc.yaml", "md5": "0" * 32}
    assert outdated(lock) == {"dvc.yaml"}
