"""What more than one folder of tests builds on: three months of data, and a model of two of them."""

import atexit
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from pipelines.core.params import Params
from tests.problems.parcels import PARAMS_FILE, PROBLEM
from tests.problems.yours import build, make_it_yours, three_months, with_data
from tests.shared import FACTORY, once

for name in ("DO_NOT_TRACK", "DVC_NO_ANALYTICS", "MLFLOW_DISABLE_TELEMETRY", "BENTOML_DO_NOT_TRACK"):
    os.environ.setdefault(name, "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

# nohup and a shell's `&` ignore Ctrl-C, and what the tests start and interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A hook that runs the tests exports GIT_DIR, by which a fixture's commit would land in this very repository;
# and nobody's settings decide what a fixture's commit is.
for name in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[name]
SETTINGS = Path(tempfile.mkdtemp(prefix="greenlight-tests-"), "gitconfig")
SETTINGS.write_text("[safe]\n\tdirectory = *\n")
atexit.register(shutil.rmtree, SETTINGS.parent, ignore_errors=True)
os.environ |= {"GIT_CONFIG_GLOBAL": str(SETTINGS), "GIT_CONFIG_NOSYSTEM": "1"}


# Each file runs in one worker. Those that start servers mostly wait: so more workers than cores, these first.
def pytest_xdist_auto_num_workers() -> int:
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def factory(tmp_path_factory: pytest.TempPathFactory) -> None:
    FACTORY.append(tmp_path_factory)


@pytest.fixture(scope="session", autouse=True)
def frozen_problem() -> Iterator[None]:
    """The verbs take the tests' own problem, whatever is in the room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.problem.PROBLEM", PROBLEM)
        yield


@pytest.fixture(scope="session")
def small_params() -> Params:
    return three_months(PARAMS_FILE, PROBLEM)


@pytest.fixture(scope="session")
def small_built(small_params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data/, build/prepared.parquet and models/ of three months."""
    return once(tmp_path_factory, "built", partial(build, small_params, PROBLEM))


@pytest.fixture(scope="session")
def small_data(small_built: Path) -> Path:
    return small_built / "data"


@pytest.fixture(scope="session")
def small_raw(small_params: Params, small_data: Path) -> pd.DataFrame:
    from pipelines.core import datafiles

    return datafiles.read(small_data, small_params.data.first, small_params.data.through, PROBLEM.contract)


@pytest.fixture(scope="session")
def yours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository with the tests' own problem in its room, its pipeline run and committed. To change it,
    take `copy_of_yours`.
    """
    return once(tmp_path_factory, "yours", lambda folder: with_data(make_it_yours(folder)))


@pytest.fixture
def copy_of_yours(yours: Path, tmp_path: Path) -> Path:
    """`yours`, to be changed by one test; with DVC's cache, so that nothing runs twice."""
    return Path(shutil.copytree(yours, tmp_path / "yours", symlinks=True))
