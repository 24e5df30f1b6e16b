"""What one of the workers that run the tests makes, and all of them use: `make test` starts several."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

FACTORY: list[pytest.TempPathFactory] = []  # this run's, for helpers that are no fixtures


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of this run of the tests, filled by `make` in the first worker that asks for it.

    It is made where it stays: virtual environments and caches name their own path. Nobody may change it.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    done = folder.with_name(f"{name}.done")
    with FileLock(folder.with_name(f"{name}.lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed half-way
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
