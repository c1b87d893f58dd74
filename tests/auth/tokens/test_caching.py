"""Reviews of tokens are cached and shared, within bounds."""

import asyncio

import pytest

from metrics_server.auth.identity import User
from metrics_server.auth.tokens import TokenReviews
from metrics_server.errors import KubernetesError
from metrics_server.simulator.kube.objects import Object
from tests.support.clock import Clock
from tests.support.token_reviews import ALICE, Door


async def test_the_order_of_an_object_is_nothing(door: Door, tokens: TokenReviews) -> None:
    """Extras are equal whatever the order of their keys."""
    found = set()
    for token, keys in (("t", ("a", "b")), ("u", ("b", "a"))):
        extra = {key: [key] for key in keys}
        user = {"username": "u", "extra": extra}
        door.always({"kind": "TokenReview", "status": {"authenticated": True, "user": user}})
        found.add(await tokens.user(token))

    assert found == {User("u", extra=(("a", ("a",)), ("b", ("b",))))}


@pytest.mark.parametrize(
    ("status", "user"),
    [
        ({"authenticated": True, "user": {"username": "u"}}, User("u")),
        ({"authenticated": False}, None),
        ({"authenticated": False, "user": {"username": "u"}}, None),
        ({}, None),
    ],
)
async def test_an_answer_is_kept_for_ten_seconds(
    door: Door, tokens: TokenReviews, clock: Clock, status: Object, user: User | None
) -> None:
    """An accepted or rejected token is cached for 10 s, and no longer; others are reviewed."""
    door.always({"kind": "TokenReview", "status": status})

    for elapsed, reviews in ((0.0, 1), (9.9, 1), (10.0, 2), (19.9, 2)):
        clock.now = 1000 + elapsed
        assert await tokens.user("t") == user
        assert len(door.bodies) == reviews
    assert await tokens.user("T") == user
    assert len(door.bodies) == 3


async def test_reviews_of_one_token_are_shared(door: Door, tokens: TokenReviews) -> None:
    """Simultaneous requests with one token share a review, even if one is cancelled."""
    door.open.clear()
    asking = [asyncio.create_task(tokens.user("of-alice")) for _ in range(20)]
    await door.asked(1)

    asking.pop(0).cancel()
    door.open.set()

    assert set(await asyncio.gather(*asking)) == {ALICE}
    assert len(door.bodies) == 1


@pytest.mark.slow
async def test_a_failure_is_shared_and_not_kept(door: Door, tokens: TokenReviews) -> None:
    """A failure reaches everyone who is waiting; the next caller gets a new review."""
    door.open.clear()
    asking = [asyncio.create_task(tokens.user("of-alice")) for _ in range(5)]
    await door.asked(1)
    answer = door.answer
    door.always({"message": "etcd is away"}, status=500)
    door.open.set()

    failures = await asyncio.gather(*asking, return_exceptions=True)

    assert [str(failure) for failure in failures] == ["the TokenReview failed: etcd is away"] * 5
    assert {failure.code for failure in failures if isinstance(failure, KubernetesError)} == {500}
    door.answer = answer
    assert await tokens.user("of-alice") == ALICE
