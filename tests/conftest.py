"""Settings that all tests share."""

import pytest
from hypothesis import settings

# A busy machine must not fail a property, and a failure must come back when the test is run again.
settings.register_profile("cycleqd", deadline=None, derandomize=True)
settings.load_profile("cycleqd")


@pytest.fixture(scope="session")
def prefect_harness():
    """A Prefect API of the tests' own, on a temporary database."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
