"""Changes of trust, and certificates that expire."""

from datetime import timedelta

import pytest

from metrics_server.auth.authentication import Authenticator, Outcome
from metrics_server.auth.delegation import DelegatedAuthentication
from metrics_server.auth.identity import ANONYMOUS
from metrics_server.auth.tokens import TokenReviews
from metrics_server.errors import UnauthorizedError
from metrics_server.simulator.kube.reviews import Reviews
from metrics_server.tls.peer import PeerCertificates
from tests.support.authentication import (
    ADMIN,
    ALICE,
    PROXIES,
    PROXY,
    REQUEST_HEADER,
    ROOT,
    USERS,
    bearer,
    shown,
)
from tests.support.client_certificates import DAY, NOW, Certified, authority, client
from tests.support.clock import WallClock


async def test_at_first_nobody_is_trusted(tokens: TokenReviews, outcomes: list[Outcome]) -> None:
    """Before any CA is set, no certificate is accepted; tokens and anonymous callers are."""
    authenticator = Authenticator(tokens, outcomes.append)

    for peer in (PROXY, ADMIN):
        with pytest.raises(UnauthorizedError):
            await authenticator.authenticate(shown(peer), ROOT)

    assert await authenticator.authenticate(None, bearer("of-alice")) == ALICE
    assert await authenticator.authenticate(None, []) == ANONYMOUS


async def test_a_rotation_counts_at_once(authenticator: Authenticator) -> None:
    """New CAs are trusted at once, and removed ones no longer."""
    new = authority("front-proxy-ca")
    renewed = client(new)

    await authenticator.authenticate(shown(PROXY), ROOT)
    with pytest.raises(UnauthorizedError):
        await authenticator.authenticate(shown(renewed), ROOT)

    authenticator.trust(DelegatedAuthentication(USERS.pem, PROXIES.pem + new.pem, REQUEST_HEADER))
    await authenticator.authenticate(shown(PROXY), ROOT)
    await authenticator.authenticate(shown(renewed), ROOT)

    authenticator.trust(DelegatedAuthentication(USERS.pem, new.pem, REQUEST_HEADER))
    await authenticator.authenticate(shown(renewed), ROOT)
    with pytest.raises(UnauthorizedError):
        await authenticator.authenticate(shown(PROXY), ROOT)


async def test_a_bundle_that_cannot_be_read_changes_nothing(authenticator: Authenticator) -> None:
    """New CAs are applied completely, or not at all."""
    with pytest.raises(ValueError, match=r"."):
        authenticator.trust(DelegatedAuthentication(b"nonsense", None, None))

    assert (await authenticator.authenticate(shown(PROXY), ROOT)).name == "root"
    assert (await authenticator.authenticate(shown(ADMIN), [])).name == "admin"


def test_a_peer_is_verified_once(authenticator: Authenticator, clock: WallClock) -> None:
    """A certificate is verified only at the first request."""
    first = authenticator.peer(PeerCertificates((PROXY.der,)))

    assert first.front_proxy is not None
    assert first.client is None
    clock.now += timedelta(hours=23)
    assert authenticator.peer(PeerCertificates((bytes(bytearray(PROXY.der)),))) is first
    assert authenticator.peer(PeerCertificates((ADMIN.der,))) is not first


@pytest.mark.parametrize("peer", [PROXY, ADMIN])
async def test_a_connection_outlives_no_certificate(
    authenticator: Authenticator, clock: WallClock, peer: Certified
) -> None:
    """A certificate that expires during its connection is rejected from then on."""
    await authenticator.authenticate(shown(peer), ROOT)
    clock.now = NOW + DAY
    await authenticator.authenticate(shown(peer), ROOT)

    clock.now += timedelta(seconds=1)

    with pytest.raises(UnauthorizedError):
        await authenticator.authenticate(shown(peer), ROOT)


async def test_a_certificate_becomes_valid(authenticator: Authenticator, clock: WallClock) -> None:
    """A rejection expires: two machines' clocks may differ a little."""
    early = client(PROXIES, validity=(NOW + timedelta(seconds=5), NOW + DAY))
    with pytest.raises(UnauthorizedError):
        await authenticator.authenticate(shown(early), ROOT)

    clock.now += timedelta(seconds=61)

    assert (await authenticator.authenticate(shown(early), ROOT)).name == "root"


async def test_certificates_cost_no_review(authenticator: Authenticator, reviews: Reviews) -> None:
    """Only tokens are reviewed by the Kubernetes API."""
    await authenticator.authenticate(shown(PROXY), [*ROOT, *bearer("of-alice")])
    await authenticator.authenticate(shown(ADMIN), bearer("of-alice"))
    await authenticator.authenticate(None, [])
    assert reviews.token_reviews == 0

    await authenticator.authenticate(None, bearer("of-alice"))
    assert reviews.token_reviews == 1
