"""One host on free ports for all tests of a file, taken down at its end."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.base import github as client
from pipelines.base.files import write_json
from pipelines.core import params
from pipelines.edge.edge import Edge
from pipelines.host import services, terraform
from pipelines.host.host import Host
from pipelines.registry.ledger import Ledger
from pipelines.registry.store import Store
from pipelines.rollout import deploy
from pipelines.rollout import watch as watching
from pipelines.rollout.rehearse import free_ports
from tests import project
from tests.delivery import github_releases, tiny
from tests.delivery.github_releases import Releases
from tests.delivery.world import World
from tests.problems.parcels import PARAMS
from tests.releases import HEAD
from tests.shared import once


@pytest.fixture
def cloned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger of an empty repository, in whose clone the test runs."""
    for command in (["init", "--quiet", "--bare", "origin.git"], ["clone", "--quiet", "origin.git", "clone"]):
        project.git(tmp_path, *command)
    monkeypatch.chdir(tmp_path / "clone")
    return Ledger()


@pytest.fixture(scope="session")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.built(once(tmp_path_factory, "bento", tiny.build))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tools and virtual environments are made once for all homes."""
    return once(tmp_path_factory, "shared", lambda folder: None)


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, shared: Path, request: pytest.FixtureRequest
) -> Iterator[Path]:
    home = tmp_path_factory.mktemp(getattr(request.module, "HOME", "home"))
    for name in ("tools", "venvs"):
        (shared / name).mkdir(exist_ok=True)
        (home / name).symlink_to(shared / name)
    before = os.environ.get("GREENLIGHT_HOME")
    os.environ["GREENLIGHT_HOME"] = str(home)
    write_json(home / "staging" / "terraform.tfvars.json", {"port": free_ports()})
    yield home
    terraform.down("staging", tiny.CONTRACT.name, home)
    del os.environ["GREENLIGHT_HOME"]
    if before is not None:
        os.environ["GREENLIGHT_HOME"] = before


@pytest.fixture(scope="module")
def host(home: Path) -> Host:
    return terraform.up("staging", tiny.CONTRACT.name, home)


@pytest.fixture(scope="module")
def store(home: Path) -> Store:
    return Store(home / "store")


@pytest.fixture(scope="module")
def make(bento: Path, store: Store) -> Callable[..., str]:
    return tiny.maker(bento, store)


@pytest.fixture(scope="module")
def good(make: Callable[..., str]) -> str:
    return make("good")


@pytest.fixture(scope="module")
def better(make: Callable[..., str]) -> str:
    return make("better")


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Shorter waits than the template's; a test may set others."""
    given = PARAMS

    def use(**values: Any) -> None:
        # A busy machine may take its time; test_steps.py tries what is too slow.
        values = {"answer_within": 10.0} | values
        changed = given.model_copy(update={"rollout": given.rollout.model_copy(update=values)})
        monkeypatch.setattr(params, "load", lambda: changed)

    use(bake=params.Bake(seconds=0.6, requests=3), healthy_within=30.0)
    return use


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[Releases]:
    """GitHub with one commit, `c`; a call is not repeated for long."""
    for name in ("GITHUB_TOKEN", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setenv("GH_TOKEN", github_releases.TOKEN)
    with github_releases.serve() as releases:
        monkeypatch.setenv("GITHUB_API_URL", releases.api)
        releases.commits.add(HEAD)
        yield releases


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.chdir(world.checkout)
    monkeypatch.setattr(deploy, "deploy", world.deploy)
    monkeypatch.setattr(services, "alive", lambda host: True)
    monkeypatch.setattr(Edge, "route", lambda edge: world.route)
    monkeypatch.setattr(watching, "AGAIN_SECONDS", 0.0)
    return world
