"""A small project of the tests' own problem: made-up rows, a real model, a commit to release."""

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pipelines.core import params, tables
from pipelines.core.contract import Column, Contract
from pipelines.training import evaluate, table, train
from tests.problems.parcels import PARAMS_FILE, PROBLEM
from tests.problems.parcels.columns import CONTRACT
from tests.problems.yours import furnish
from tests.shared import FACTORY, once

ROOT = Path(__file__).parents[1]
ROWS_A_DAY = 20
DEPENDS = ("pipelines/core/model.py", "pipelines/problem/columns.py", "pipelines/training/train.py")
SETTINGS = {
    "max_iter": 10,
    "learning_rate": 0.1,
    "max_leaf_nodes": 7,
    "min_samples_leaf": 50,
    "max_features": 0.5,
}


@functools.cache
def code() -> Path:
    """A folder whose code has the tests' own problem in the room: for $PYTHONPATH of a verb."""

    def make(folder: Path) -> None:
        ignored = shutil.ignore_patterns("__pycache__", ".terraform*")
        for name in ("pipelines", "infra", "requirements"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        furnish(folder, PARAMS_FILE.parent)

    return once(FACTORY[0], "code", make)


@functools.cache
def made() -> Path:
    """The project's checkout, made once for all workers; take a copy before you change it."""
    return once(FACTORY[0], "project", _make)


def _make(folder: Path) -> None:
    shutil.copytree(code() / "pipelines", folder / "pipelines")
    (folder / "requirements").mkdir()
    for name in ("bentofile.yaml", "dvc.yaml", "requirements/serve.txt", ".gitignore", ".gitattributes"):
        shutil.copyfile(ROOT / name, folder / name)
    settings = yaml.safe_load(PARAMS_FILE.read_text())
    settings["train"] |= {"estimator": "hist_gradient_boosting", "settings": SETTINGS}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    with inside(folder):
        given = params.load("params.yaml")
        (folder / "build").mkdir()
        tables.write(table.PREPARED, rows())
        train.run(given, PROBLEM)
        evaluate.run(given, PROBLEM)
        lock(folder)
        (folder / "models" / ".gitignore").write_text("/*\n!.gitignore\n")
        commit(folder, "first")


def copy(folder: Path) -> Path:
    """A copy of the project at `folder`, with a bare origin beside it."""
    shutil.copytree(made(), folder)
    origin = folder.with_name(f"{folder.name}.git")
    git(folder, "init", "--quiet", "--bare", str(origin))
    git(folder, "remote", "add", "origin", str(origin))
    return folder


def rows(seed: int = 1, contract: Contract = CONTRACT) -> pd.DataFrame:
    """Made-up rows of all months, in which the first number raises the probability of the label."""
    random = np.random.default_rng(seed)
    days = pd.date_range("2013-01-01", "2013-06-30")
    time = pd.Series(np.repeat(days, ROWS_A_DAY)) + pd.Timedelta(hours=12)
    count = len(time)
    made: dict[str, pd.Series] = {
        contract.key.name: pd.Series([f"event {n}" for n in range(count)]),
        contract.time.name: time,
    }
    for column in dict.fromkeys((*contract.slices, *contract.features)):
        made[column.name] = _values(column, count, random)
    number = next(column for column in contract.features if column.type == "number")
    raised = made[number.name].fillna(0).rank(pct=True)
    made[contract.label.name] = pd.Series(random.random(count) < 0.1 + 0.5 * raised).astype("boolean")
    return pd.DataFrame(made)


def _values(column: Column, count: int, random: np.random.Generator) -> pd.Series:
    if column.type == "category":
        return pd.Series(random.choice(column.values or ("A", "B", "C"), count)).astype(object)
    low, high = column.minimum or 0.0, column.maximum or 1.0
    values = pd.Series(random.uniform(low, high, count).astype(np.float32))
    if column.type == "integer":
        values = values.round()
    return values.mask(random.random(count) < column.missing / 2).astype(np.float32)


def lock(folder: Path) -> None:
    """Write the dvc.lock that DVC would, of the files as they are."""
    given = yaml.safe_load((folder / "params.yaml").read_text())
    outs = ["build/prepared.parquet", *sorted(f"models/{p.name}" for p in (folder / "models").glob("*.*"))]
    stage: dict[str, Any] = {
        "cmd": "ml stage evaluate",
        "deps": [_entry(folder, name) for name in DEPENDS],
        "params": {"params.yaml": {"train": given["train"], "serving": given["serving"]}},
        "outs": [_entry(folder, name) for name in outs if not name.endswith(".gitignore")],
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"evaluate": stage}}))


def _entry(folder: Path, name: str) -> dict[str, str]:
    content = (folder / name).read_bytes()
    return {"path": name, "hash": "md5", "md5": hashlib.md5(content, usedforsecurity=False).hexdigest()}


def commit(folder: Path, message: str) -> str:
    """Commit all that git does not ignore."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *command: str) -> str:
    done = subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Run at the top of `folder`, where a verb runs."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
