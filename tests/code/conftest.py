"""The load tool of the benchmarks, for the tests that send with it."""

import pytest

from benchmarks import _load
from pipelines.base.errors import UserError


@pytest.fixture(scope="session")
def vegeta() -> str:
    """Its path; built once where only Go is there. Without either, the test says so and is skipped."""
    try:
        return _load.vegeta()
    except UserError as error:
        pytest.skip(str(error))
