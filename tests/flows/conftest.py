"""One Prefect server for all tests of flows in this process."""

from collections.abc import Iterator

import pytest
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    """A temporary server with a database of its own; a minute is not rare on two busy cores."""
    with prefect_test_harness(server_startup_timeout=180):
        yield
