"""A reviewer of tokens, and the Kubernetes API that it uses."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metrics_server.auth.identity import User
from metrics_server.auth.tokens import TokenReviews
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.reviews import Reviews
from tests.support.clock import Clock
from tests.support.kubernetes import kubernetes
from tests.support.reviews import caller_of
from tests.support.token_reviews import ALICE, Door

BOB = User("bob")


@pytest.fixture
async def client(door: Door, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client of the API whose reviews are behind the door."""
    async with kubernetes(tmp_path) as (api, made):
        api.aggregate("authentication.k8s.io", "v1", door)
        yield made


@pytest.fixture
def door() -> Door:
    """A wrapper of reviews that know two tokens."""
    return Door(Reviews({"of-alice": caller_of(ALICE), "of-bob": caller_of(BOB)}).token_review)


@pytest.fixture
def clock() -> Clock:
    """The clock for the age of cached answers."""
    return Clock(1000)


@pytest.fixture
def tokens(client: KubernetesClient, clock: Clock) -> TokenReviews:
    """The token reviews under test."""
    return TokenReviews(client, clock=clock)
