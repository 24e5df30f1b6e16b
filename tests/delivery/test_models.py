"""Several models share one edge; what one of them does, the others do not notice."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.base.locks import held
from pipelines.host import terraform
from pipelines.host.host import Host
from pipelines.registry.store import Store
from pipelines.rollout import deploy
from pipelines.rollout.journal import Journal
from pipelines.rollout.load import Load
from tests.delivery import tiny
from tests.delivery.waiting import child

pytestmark = pytest.mark.slow
OTHER = "other-model"


def release_at(url: str) -> str:
    with urllib.request.urlopen(f"{url}/release", timeout=10) as answer:
        return str(json.loads(answer.read())["release"])


def test_a_second_model_comes_and_moves_while_the_first_one_serves(
    host: Host,
    home: Path,
    store: Store,
    make: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, third = make("first"), make("second"), make("third")
    assert deploy.move(host, tiny.CONTRACT, first, store) == 0
    with pytest.raises(
        UserError, match=f"serves {tiny.CONTRACT.name} here, not yet {OTHER}: run `ml infra up"
    ):
        Host.load("staging", OTHER, home)
    pid, route = child(host, "edge"), host.edge.route()

    with Load(host.edge_url, tiny.CALLS) as load:
        other = terraform.up("staging", OTHER, home)  # another repository's
        assert list(other.ports_of) == [tiny.CONTRACT.name, OTHER] and other.model == OTHER
        with pytest.raises(urllib.error.HTTPError, match="503"):
            release_at(other.edge.model_url)
        with held(host.place, "a deploy of the first model", "staging"):  # its lock is its own
            assert deploy.move(other, tiny.CONTRACT, second, store) == 0
            assert deploy.move(other, tiny.CONTRACT, third, store) == 0
        with pytest.raises(UserError, match="held by a deploy"), held(other.place, "a deploy", "staging"):
            deploy.move(other, tiny.CONTRACT, second, store)
    assert not load.lost and set(load.answered) == {first}
    assert (child(host, "edge"), host.edge.route()) == (pid, route)
    assert release_at(host.edge_url) == release_at(other.edge.url) == first
    assert release_at(other.edge.model_url) == third
    assert release_at(f"{host.edge_url}/v1/models/{tiny.CONTRACT.name}") == first
    assert host.edge.model_url == host.edge_url
    assert other.edge.model_url == f"{host.edge_url}/v1/models/{OTHER}"

    back = Host.load("staging", tiny.CONTRACT.name, home)
    assert deploy.move(back, tiny.CONTRACT, second, store) == 0  # the first model moves, the other one stays
    assert release_at(other.edge.model_url) == third
    assert [m.release for m in Journal(other.place).moves()] == [second, third]
    assert [m.release for m in Journal(back.place).moves()] == [first, second]
