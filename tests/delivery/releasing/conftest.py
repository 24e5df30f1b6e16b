"""A checkout with a model that can be released, and one that was."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.registry.store import Store
from pipelines.release.release import release
from tests import project
from tests.problems.parcels import PROBLEM


@pytest.fixture(autouse=True)
def limits() -> None:
    """Not the rollout's shorter waits: these tests read a params.yaml of their own."""


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    folder = project.copy(tmp_path / "project")
    with project.inside(folder):
        yield folder


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Store, str, str]]:
    """A checkout, the store, the id of its release and the summary's text."""
    folder = project.copy(tmp_path_factory.mktemp("released") / "project")
    store, summary = Store(folder.parent / "store"), folder.parent / "summary.md"
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["GITHUB_STEP_SUMMARY"] = str(summary)
    with project.inside(folder):
        number = release(PROBLEM, store=store)
    del os.environ["GITHUB_STEP_SUMMARY"]
    if before:
        os.environ["MLFLOW_TRACKING_URI"] = before
    yield folder, store, number, summary.read_text()
