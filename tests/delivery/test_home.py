"""A host whose home has a space in its path serves like any other."""

from collections.abc import Callable

import pytest

from pipelines.host.host import Host
from pipelines.registry.store import Store
from pipelines.rollout import checks, deploy
from tests.problems.parcels import PROBLEM

pytestmark = pytest.mark.slow
HOME = "home of Ada"


def test_a_release_goes_live_in_a_home_with_a_space(
    host: Host, store: Store, make: Callable[..., str]
) -> None:
    release = make("good")
    assert " " in str(host.home)
    assert deploy.move(host, PROBLEM.contract, release, store) == 0
    assert checks.answers(host.edge_url) == release
