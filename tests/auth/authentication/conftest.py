"""An authenticator, and the token reviews that it requests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metrics_server.auth.authentication import Authenticator, Outcome
from metrics_server.auth.delegation import DelegatedAuthentication
from metrics_server.auth.identity import User
from metrics_server.auth.tokens import TokenReviews
from metrics_server.simulator.kube.reviews import Reviews
from tests.support.authentication import ALICE, PROXIES, REQUEST_HEADER, USERS
from tests.support.client_certificates import NOW
from tests.support.clock import WallClock
from tests.support.kubernetes import kubernetes
from tests.support.reviews import caller_of

TRUST = DelegatedAuthentication(USERS.pem, PROXIES.pem, REQUEST_HEADER)

BOB = User("bob", uid="7", groups=("dev",), extra=(("k", ("v",)),))


@pytest.fixture
def reviews() -> Reviews:
    """Reviews of two users' tokens."""
    return Reviews({"of-alice": caller_of(ALICE), "of-bob": caller_of(BOB)})


@pytest.fixture
async def tokens(reviews: Reviews, tmp_path: Path) -> AsyncIterator[TokenReviews]:
    """A requester of these reviews."""
    async with kubernetes(tmp_path) as (api, made):
        api.aggregate("authentication.k8s.io", "v1", reviews.token_review)
        yield TokenReviews(made)


@pytest.fixture
def outcomes() -> list[Outcome]:
    """The counted outcomes."""
    return []


@pytest.fixture
def clock() -> WallClock:
    """The authenticator's clock."""
    return WallClock(NOW)


@pytest.fixture
def authenticator(tokens: TokenReviews, outcomes: list[Outcome], clock: WallClock) -> Authenticator:
    """The authenticator under test, which trusts the two authorities."""
    made = Authenticator(tokens, outcomes.append, clock=clock)
    made.trust(TRUST)
    return made
