"""Fixtures for tests of the query API."""

from collections.abc import Iterator

import pytest

from tests.support.prometheus import Prometheus, running


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus without data, for all tests in a module."""
    with running(Prometheus(tmp_path_factory.mktemp("prometheus"))) as one:
        yield one
