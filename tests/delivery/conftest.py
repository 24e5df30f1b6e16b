"""One host on free ports for all tests of a file, taken down at its end."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.delivery import rollout, terraform
from pipelines.delivery.host import Host
from pipelines.delivery.rehearse import _four_free_ports
from pipelines.delivery.slots import process
from pipelines.delivery.store import Store
from pipelines.files import write_json
from tests.delivery import tiny


@pytest.fixture(scope="session")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("bento"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tools and virtual environments are made once for all homes."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    for name in ("tools", "venvs"):
        (shared / name).mkdir(exist_ok=True)
        (home / name).symlink_to(shared / name)
    before = os.environ.get("GREENLIGHT_HOME")
    os.environ["GREENLIGHT_HOME"] = str(home)
    write_json(home / "staging" / "terraform.tfvars.json", {"port": _four_free_ports()})
    yield home
    terraform.down("staging", home)
    del os.environ["GREENLIGHT_HOME"]
    if before is not None:
        os.environ["GREENLIGHT_HOME"] = before


@pytest.fixture(scope="module")
def host(home: Path) -> Host:
    return terraform.up("staging", home)


@pytest.fixture(scope="module")
def store(home: Path) -> Store:
    return Store(home / "store")


@pytest.fixture(scope="module")
def make(bento: Path, store: Store) -> Callable[..., str]:
    return tiny.maker(bento, store)


@pytest.fixture
def empty(host: Host) -> Iterator[Host]:
    """The host with nothing deployed and no past."""
    host.edge.route_to(None)
    for slot in host.slots:
        process.stop(host, slot)
    (host.folder / "journal.jsonl").unlink(missing_ok=True)
    yield host


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The template's watch takes longer than these tests need."""
    limits = rollout.params.load().rollout.model_copy(update={"watch": 1.0, "healthy_within": 30.0})
    monkeypatch.setattr(rollout.params, "load", lambda: _Params(limits))


class _Params:
    def __init__(self, limits: object) -> None:
        self.rollout = limits
