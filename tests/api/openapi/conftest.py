"""The OpenAPI documents of both APIs."""

import pytest

from metrics_server.api.openapi import OpenAPI, build_openapi
from tests.support.openapi import GROUPS


@pytest.fixture(scope="module")
def openapi() -> OpenAPI:
    """The documents."""
    return build_openapi(GROUPS)
