"""What more than one folder of tests builds on: three months of data, and a model of two of them."""

import atexit
import os
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipelines.core.params import Params, parse
from pipelines.problem import PROBLEM
from tests.problems.yours import REPOSITORY, make_it_yours, with_data
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


@pytest.fixture(scope="session")
def small_params() -> Params:
    """params.yaml on three months: two to train, one to judge."""
    from pipelines.problem import source

    value = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    first, second, third = source.months()[:3]
    value["data"] = {"first": first, "through": third}
    value["train"] |= {"first": first, "last": second}
    return parse(value)


@pytest.fixture(scope="session")
def small_data(small_params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data/ of three months."""
    from pipelines.training.ingest import ingest

    def make(folder: Path) -> None:
        ingest(PROBLEM, small_params.data.through, first=small_params.data.first, folder=folder / "data")

    return once(tmp_path_factory, "small", make) / "data"


@pytest.fixture(scope="session")
def small_raw(small_params: Params, small_data: Path) -> pd.DataFrame:
    from pipelines.core import months
    from pipelines.problem.columns import CONTRACT

    return months.read(small_data, small_params.data.first, small_params.data.through, CONTRACT)


@pytest.fixture(scope="session")
def small_built(small_params: Params, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the build/prepared.parquet and models/ of three months."""
    from pipelines.training import evaluate, prepare, train

    def make(folder: Path) -> None:
        prepared, models = folder / "build/prepared.parquet", folder / "models"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
            prepare.run(small_params, PROBLEM, small_data, prepared)
            train.run(small_params, PROBLEM, prepared, models)
            evaluate.run(small_params, PROBLEM.contract, prepared, models)

    return once(tmp_path_factory, "built", make)


@pytest.fixture(scope="session")
def yours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository made somebody's own with the second problem, its pipeline run and committed. Copy it to
    change it: `copy_of`.
    """
    return once(tmp_path_factory, "yours", lambda folder: with_data(make_it_yours(folder)))


@pytest.fixture
def copy_of_yours(yours: Path, tmp_path: Path) -> Path:
    """`yours`, to be changed by one test; with DVC's cache, so that nothing runs twice."""
    return Path(shutil.copytree(yours, tmp_path / "yours", symlinks=True))
