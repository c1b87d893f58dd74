"""Decisions are cached and shared, within bounds."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.identity import ANONYMOUS, User
from metrics_server.auth.request_info import Attributes
from metrics_server.errors import (
    ForbiddenError,
    ReviewError,
    TooManyReviewsError,
)
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.kube.objects import Object
from metrics_server.simulator.kube.reviews import Reviews
from tests.support.authorization import ALICE, ALLOWED, METRIC, is_allowed
from tests.support.clock import Clock
from tests.support.reviews import access_of, caller_of
from tests.support.waiting import until

DENIED: Object = {"allowed": False}


@pytest.mark.parametrize("before", [ALLOWED, DENIED], ids=["allowed", "denied"])
async def test_a_change_of_rbac_is_seen_after_10_s(
    authorizer: Authorizer, reviews: Reviews, clock: Clock, before: Object
) -> None:
    """Both allowed and denied decisions hold for 10 s, and no longer."""
    after = DENIED if before is ALLOWED else ALLOWED
    reviews.decide = lambda _user, _attributes: before
    assert await is_allowed(authorizer, ALICE, METRIC) == before["allowed"]
    reviews.decide = lambda _user, _attributes: after
    clock.now = 9.999
    assert await is_allowed(authorizer, ALICE, METRIC) == before["allowed"]
    assert len(reviews.access_reviews) == 1
    clock.now = 10
    assert await is_allowed(authorizer, ALICE, METRIC) == after["allowed"]
    assert len(reviews.access_reviews) == 2


async def test_identical_concurrent_requests_share_a_review(
    client: KubernetesClient, reviews: Reviews
) -> None:
    """Many identical requests at once make one review, even if it fails."""
    authorizer = Authorizer(client, timeout=0.1)
    reviews.set_fault(Fault("hang"))
    asked = (authorizer.authorize(ALICE, METRIC) for _ in range(50))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ReviewError}
    assert len(reviews.access_reviews) == 1


async def test_reviews_leave_connections_for_others(
    client: KubernetesClient, reviews: Reviews
) -> None:
    """However many different requests there are, the number of reviews at once is limited."""
    authorizer = Authorizer(client, timeout=30)
    reviews.set_fault(Fault("hang"))
    tasks = [
        asyncio.create_task(authorizer.authorize(ANONYMOUS, Attributes("get", path=f"/{number}")))
        for number in range(200)
    ]
    await until(lambda: len(reviews.access_reviews) >= 32)
    assert await client.get("/version", {}, timeout=5)
    assert len(reviews.access_reviews) == 32
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await until(lambda: len(asyncio.all_tasks()) < len(tasks))


@pytest.mark.slow
async def test_reviews_are_bounded(authorizer: Authorizer) -> None:
    """A user whose requests are always new leaves room for others; anonymous users leave more."""

    async def ask(user: User, times: int, address: str = "") -> int:
        reviewed = 0
        for n in range(times):
            with suppress(TooManyReviewsError):
                asked = Attributes("get", path=f"/{address}/{n}")
                with suppress(ForbiddenError):
                    await authorizer.authorize(user, asked, address)
                reviewed += 1
        return reviewed

    assert await ask(User("eve"), 1100) == 1000
    assert await ask(User("hpa"), 100) == 100
    assert [await ask(ANONYMOUS, 50, address) for address in "abcdef"] == [40, 40, 40, 40, 40, 0]
    # A hundred of these have already been decided.
    assert await ask(User("hpa"), 1100) == 100 + 900


async def test_what_is_far_too_long_is_not_kept(authorizer: Authorizer, reviews: Reviews) -> None:
    """Decisions about excessively long requests are made, but not cached."""
    for attributes in (
        Attributes("get", path="/" + "a" * 2000),
        Attributes("list", "n", "g" * 2000, "v", "r"),
        Attributes("list", "n", "g", "v" * 2000, "r"),
    ):
        reviews.access_reviews.clear()
        for _ in range(2):
            assert not await is_allowed(authorizer, ALICE, attributes)
        assert len(reviews.access_reviews) == 2


names = st.sampled_from(["a", "b", "a%2Fb", "a/b", "a,b", ""])
values = st.lists(names, max_size=2).map(tuple)
extras = st.dictionaries(names, values, max_size=2).map(lambda extra: (*sorted(extra.items()),))
users = st.builds(
    User,
    name=st.sampled_from(["u", "v"]),
    uid=names,
    groups=values,
    extra=extras,
)
# Mostly pairs that differ only in one part, or in the order within it.
alike = users.flatmap(
    lambda user: st.tuples(
        st.just(user),
        st.one_of(
            users,
            names.map(lambda uid: structs.replace(user, uid=uid)),
            st.permutations(user.groups).map(
                lambda groups: structs.replace(user, groups=tuple(groups))
            ),
            values.map(lambda groups: structs.replace(user, groups=groups)),
            extras.map(lambda extra: structs.replace(user, extra=extra)),
        ),
    )
)
requests = st.one_of(
    st.builds(Attributes, names, names, names, names, st.sampled_from(["a", "b", "a/b"])),
    st.builds(Attributes, names, path=names),
)


# All examples share the API; each has its own authorizer and cache.
@pytest.mark.slow
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    identities=alike,
    requests=st.one_of(st.tuples(requests, requests), requests.map(lambda one: (one, one))),
)
async def test_no_two_identities_share_a_decision(
    client: KubernetesClient,
    reviews: Reviews,
    identities: tuple[User, User],
    requests: tuple[Attributes, Attributes],
) -> None:
    """Identities or requests that differ in any part have separate reviews."""
    first, second = identities
    assume((first, requests[0]) != (second, requests[1]))
    authorizer = Authorizer(client)
    allowed = caller_of(first), access_of(requests[0])
    reviews.decide = lambda user, attributes: {"allowed": (user, attributes) == allowed}
    for _ in range(2):
        assert await is_allowed(authorizer, first, requests[0])
        assert not await is_allowed(authorizer, second, requests[1])
