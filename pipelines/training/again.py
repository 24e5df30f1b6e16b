"""`ml ci rebuild`: the model made again from its lock and seed, and what a job that trains leaves to another.

Training runs a team's code, so on GitHub its job can write nothing; the job that releases trains nothing.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.base import recorded
from pipelines.base.console import output, step
from pipelines.base.errors import UserError
from pipelines.base.files import sha256_of_tree, write_bytes
from pipelines.core import params
from pipelines.core.problem import Problem
from pipelines.training import table, train

LOCK = recorded.LOCK
REBUILT = "rebuilt.onnx"


def model(here: Path, problem: Problem) -> bytes:
    """The model as ONNX, fitted again on the prepared data."""
    step("rebuilding the model from its lock and seed")
    return train.fit(
        problem.task.suited(params.load(here / "params.yaml")), table.load(here / table.PREPARED), problem
    )


def leave(out: Path, problem: Problem) -> None:
    """Write into `out` the rebuilt model, models/ and the dvc.lock that says how they were made.

    Writes `sha256`, that of the whole folder, to the step's outputs. UserError where `out` exists, or where
    dvc.lock names what it may not."""
    here = Path()
    locked = (here / LOCK).read_bytes()
    made = files(recorded.stages(locked, at=here))
    if out.exists():
        raise UserError(f"{out} exists already: name another folder, or remove it")
    write_bytes(out / REBUILT, model(here, problem))
    write_bytes(out / LOCK, locked)
    for name in made:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / name, out / name)
    output("sha256", digest := sha256_of_tree(out))
    step(f"{out}/ holds what a release is made of: SHA-256 {digest}")


def files(stages: Mapping[str, Any]) -> dict[str, str]:
    """Each file in models/ that a dvc.lock names, with its MD5; its folders are not part of a release."""
    return {path: md5 for path, md5 in recorded.files(stages) if path.startswith("models/")}
