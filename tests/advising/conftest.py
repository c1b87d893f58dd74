"""Watched HPAs."""

import pytest

from tests.support.watching import Stage


@pytest.fixture
def stage() -> Stage:
    """The stage."""
    return Stage()
