"""A front proxy's repeated request is admitted without a review, as long as that is safe."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from prometheus_client import CollectorRegistry

from metrics_server.auth.authentication import Authenticator
from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.delegation import DelegatedAuthentication
from metrics_server.auth.guard import Guard
from metrics_server.auth.identity import User
from metrics_server.auth.request_header import RequestHeaderConfig
from metrics_server.auth.tokens import TokenReviews
from metrics_server.errors import ForbiddenError, UnauthorizedError
from metrics_server.simulator.kube.objects import Json
from metrics_server.simulator.kube.reviews import Access, Caller, Reviews
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.peer import PeerCertificates
from tests.auth.authentication.conftest import TRUST
from tests.support.authentication import ADMIN, PROXIES, PROXY, REQUEST_HEADER, USERS
from tests.support.client_certificates import NOW, Certified, authority, client, name
from tests.support.clock import Clock, WallClock
from tests.support.kubernetes import kubernetes
from tests.support.reviews import caller_of

PATH = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
STRICTER = RequestHeaderConfig(("X-Remote-User",), allowed_names=("a",))
ALICE = (("X-Remote-User", "alice"), ("X-Remote-Group", "dev"))


class Tls:
    """The peer of a connection."""

    def __init__(self, peer: Certified) -> None:
        self.peer = PeerCertificates((peer.der,))


class Transport:
    """A connection over TLS."""

    def __init__(self, peer: Certified) -> None:
        self._tls = Tls(peer)

    def get_extra_info(self, key: str, default: object = None) -> object:
        """The TLS object, which is all that the guard reads."""
        return self._tls if key == "ssl_object" else default


@dataclass
class Guarded:
    """A guard, its reviews, and its clocks."""

    guard: Guard
    reviews: Reviews
    clock: Clock
    wall: WallClock

    async def request(
        self,
        target: str = PATH,
        *,
        method: str = "GET",
        headers: Iterable[tuple[str, str]] = ALICE,
        peer: Certified = PROXY,
    ) -> None:
        """Send a request to the guard."""
        await self.guard(
            make_mocked_request(method, target, CIMultiDict(headers), transport=Transport(peer))
        )

    @property
    def reviewed(self) -> int:
        """The number of access reviews."""
        return len(self.reviews.access_reviews)


@pytest.fixture
async def guarded(monitor: Monitor, tmp_path: Path) -> AsyncIterator[Guarded]:
    """A guard with a Kubernetes API that allows everything."""
    reviews = Reviews({"of-alice": caller_of(User("alice"))})
    reviews.decide = lambda _user, _attributes: {"allowed": True}
    clock, wall = Clock(100), WallClock(NOW)
    async with kubernetes(tmp_path) as (api, made):
        api.aggregate("authentication.k8s.io", "v1", reviews.token_review)
        api.aggregate("authorization.k8s.io", "v1", reviews.subject_access_review)
        authenticator = Authenticator(TokenReviews(made), monitor.authenticated, clock=wall)
        guard = Guard(authenticator, Authorizer(made, clock=clock), monitor, clock=clock)
        guard.trust(TRUST)
        yield Guarded(guard, reviews, clock, wall)


def counted(
    registry: CollectorRegistry, monitor: Monitor, metric: str, **labels: str
) -> float | None:
    """The value of a counter, after all pending updates."""
    monitor.exposition()
    return registry.get_sample_value(f"gpu_metrics_server_{metric}_total", labels)


async def test_a_repeat_is_admitted_and_counted(
    guarded: Guarded, registry: CollectorRegistry, monitor: Monitor
) -> None:
    """Three requests make one review, and /metrics counts all three."""
    for _ in range(3):
        await guarded.request()

    assert guarded.reviewed == 1
    assert counted(registry, monitor, "authentications", outcome="request-header") == 3
    assert counted(registry, monitor, "authorizations", decision="allowed") == 3


@pytest.mark.parametrize(
    ("target", "method", "headers"),
    [
        (f"{PATH}s", "GET", ALICE),
        (PATH, "DELETE", ALICE),
        (PATH, "GET", [("X-Remote-User", "bob"), ALICE[1]]),
        (PATH, "GET", [*ALICE, ("X-Remote-Group", "ops")]),
        (PATH, "GET", [*ALICE, ("X-Remote-Extra-Scopes", "few")]),
    ],
)
async def test_any_difference_is_reviewed(
    guarded: Guarded, target: str, method: str, headers: list[tuple[str, str]]
) -> None:
    """A request that differs from an allowed one is reviewed."""
    await guarded.request()
    guarded.reviews.decide = lambda _user, _attributes: {"allowed": False}

    with pytest.raises(ForbiddenError):
        await guarded.request(target, method=method, headers=headers)


async def test_who_may_read_all_may_read_some(guarded: Guarded) -> None:
    """All selectors share the review without selectors, even if they come first."""
    for query in ("?labelSelector=app%3Da", "?labelSelector=app%3Db", "?fieldSelector=a%3Db", ""):
        await guarded.request(PATH + query)

    assert guarded.reviewed == 1


async def test_who_may_read_some_may_not_read_others(guarded: Guarded) -> None:
    """If only one selector is allowed, each is reviewed, and all others stay denied."""

    def decide(_user: Caller, access: Access) -> dict[str, Json]:
        return {"allowed": [*chain(*(one.values for one in access.labels))] == ["a"]}

    guarded.reviews.decide = decide
    for _ in range(2):
        await guarded.request(f"{PATH}?labelSelector=app%3Da")
        for query in ("?labelSelector=app%3Db", ""):
            with pytest.raises(ForbiddenError):
                await guarded.request(PATH + query)
    assert guarded.reviewed == 3


async def test_a_decision_expires(guarded: Guarded) -> None:
    """A withdrawn permission ends with the decision, after 10 s, however often it is used."""
    await guarded.request()
    guarded.reviews.decide = lambda _user, _attributes: {"allowed": False}
    for _ in range(9):
        guarded.clock.advance(1)
        await guarded.request()

    guarded.clock.advance(1)
    with pytest.raises(ForbiddenError):
        await guarded.request()


@pytest.mark.parametrize(
    "trust",
    [
        pytest.param(
            DelegatedAuthentication(USERS.pem, authority("other").pem, REQUEST_HEADER), id="CA"
        ),
        pytest.param(
            DelegatedAuthentication(
                USERS.pem,
                PROXIES.pem,
                STRICTER,
            ),
            id="allowed names",
        ),
    ],
)
async def test_a_proxy_no_longer_trusted_is_refused(
    guarded: Guarded, trust: DelegatedAuthentication
) -> None:
    """The request is rejected from the change on, even if it was allowed before."""
    await guarded.request()
    guarded.guard.trust(trust)

    with pytest.raises(UnauthorizedError):
        await guarded.request()


async def test_header_names_that_change_during_a_review(guarded: Guarded) -> None:
    """The same header lines then name another user, who must be reviewed."""
    headers = [*ALICE, ("X-Remote-Extra-User", "bob")]
    swapped = RequestHeaderConfig(("X-Remote-Extra-User", "X-Remote-User", "X-Remote-Group"))
    bobs: list[asyncio.Task[None]] = []

    def decide(user: Caller, _attributes: Access) -> dict[str, Json]:
        if user.name == "alice":
            guarded.guard.trust(DelegatedAuthentication(USERS.pem, PROXIES.pem, swapped))
            bobs.append(asyncio.create_task(guarded.request(headers=headers)))
        return {"allowed": user.name == "alice"}

    guarded.reviews.decide = decide
    await guarded.request(headers=headers)

    with pytest.raises(ForbiddenError):
        await bobs[0]
    with pytest.raises(ForbiddenError):
        await guarded.request(headers=headers)


async def test_an_expired_certificate_is_refused(guarded: Guarded) -> None:
    """A proxy's requests end when its certificate expires, not with the last decision."""
    short = client(PROXIES, name("aggregator"), (NOW, NOW + timedelta(seconds=5)))
    await guarded.request(peer=short)
    guarded.wall.advance(timedelta(seconds=6))

    with pytest.raises(UnauthorizedError):
        await guarded.request(peer=short)


async def test_only_named_users_are_admitted(guarded: Guarded) -> None:
    """A token that a front proxy passes on does not admit requests without it."""
    token = [("Authorization", "Bearer of-alice")]
    await guarded.request(headers=token)

    with pytest.raises(UnauthorizedError):
        await guarded.request(headers=[])


async def test_the_headers_of_others_are_ignored(
    guarded: Guarded, registry: CollectorRegistry, monitor: Monitor
) -> None:
    """A client that repeats a proxy's request is still identified by its own certificate."""
    await guarded.request()
    for _ in range(2):
        await guarded.request(peer=ADMIN)

    assert guarded.reviewed == 2
    assert counted(registry, monitor, "authentications", outcome="client-certificate") == 2
