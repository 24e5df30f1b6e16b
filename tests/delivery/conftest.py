"""One host on free ports for all tests of a file, taken down at its end."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import params
from pipelines.delivery import terraform
from pipelines.delivery.host import Host
from pipelines.delivery.rehearse import four_free_ports
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
    write_json(home / "staging" / "terraform.tfvars.json", {"port": four_free_ports()})
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


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Shorter waits than the template's; a test may set others."""
    given = params.load()

    def use(**seconds: float) -> None:
        changed = given.model_copy(update={"rollout": given.rollout.model_copy(update=seconds)})
        monkeypatch.setattr(params, "load", lambda: changed)

    use(watch=0.6, healthy_within=30.0)
    return use
