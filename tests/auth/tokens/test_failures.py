"""Failing reviews of tokens, and the secrecy of tokens."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from metrics_server.auth.tokens import TokenReviews, bearer_token
from metrics_server.errors import KubernetesError, UnauthorizedError
from metrics_server.kube.client import KubernetesClient
from tests.support.kubernetes import kubernetes
from tests.support.token_reviews import ALICE, Door


@pytest.mark.parametrize(
    "body",
    [
        "nonsense",
        {},
        {"kind": "TokenReview"},
        {"kind": "Status", "status": {"authenticated": True, "user": {"username": "u"}}},
        {"kind": "TokenReview", "status": {"authenticated": "yes"}},
        {"kind": "TokenReview", "status": {"authenticated": True}},
        {"kind": "TokenReview", "status": {"authenticated": True, "user": {"uid": "1"}}},
        {"kind": "TokenReview", "status": {"authenticated": True, "user": {"groups": "g"}}},
    ],
)
async def test_a_malformed_token_review_is_an_error(
    door: Door, tokens: TokenReviews, body: object
) -> None:
    """An unreadable answer identifies nobody, and is not cached."""
    door.always(body)

    for _ in range(2):
        with pytest.raises(KubernetesError, match="TokenReview"):
            await tokens.user("t")

    assert len(door.bodies) == 2


async def test_a_review_has_a_time_limit(door: Door, client: KubernetesClient) -> None:
    """A review without an answer times out, and the next caller starts a new one."""
    door.open.clear()
    tokens = TokenReviews(client, timeout=0.05)

    with pytest.raises(KubernetesError, match="the TokenReview failed"):
        await tokens.user("of-alice")

    door.open.set()
    assert await TokenReviews(client).user("of-alice") == ALICE


@pytest.mark.slow
async def test_reviews_leave_room_for_other_calls(
    door: Door, client: KubernetesClient, tokens: TokenReviews
) -> None:
    """However many tokens arrive at once, other calls to the API are still answered."""
    door.open.clear()
    asking = [asyncio.create_task(tokens.user(f"t{n}", f"10.0.0.{n}")) for n in range(200)]
    await door.asked(32)

    assert await client.get("/healthz", {}, timeout=5) == b"ok"
    assert len(door.bodies) == 32

    door.open.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnauthorizedError] * 200


@pytest.mark.slow
async def test_an_api_that_is_away_is_an_error(tmp_path: Path) -> None:
    """While no review is possible, a token is neither valid nor invalid."""
    async with kubernetes(tmp_path) as (api, client):
        tokens = TokenReviews(client)
        api.faults.refuse_next(503, "the server is shutting down", times=10)

        with pytest.raises(KubernetesError, match="shutting down"):
            await tokens.user("some-token")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "TokenReview", "status": {"error": "bad: secret-token"}}, 201),
        ({"message": "cannot review secret-token"}, 500),
        ({"secret-token": True}, 201),
    ],
)
async def test_a_token_is_never_logged(
    door: Door, tokens: TokenReviews, body: object, status: int
) -> None:
    """A token is in no log and no error, even if a server repeats it."""
    door.always(body, status)

    with capture_logs() as logs, pytest.raises((KubernetesError, UnauthorizedError)) as raised:
        await tokens.user("secret-token")

    assert "secret-token" not in str(logs)
    assert "secret-token" not in str(raised.value)


async def test_a_token_is_not_kept(client: KubernetesClient, tokens: TokenReviews) -> None:
    """The cache holds only a hash of a token, which differs in every process."""
    await tokens.user("of-alice")
    other = TokenReviews(client)
    await other.user("of-alice")

    (kept,), (kept_by_other,) = tokens._users._kept._entries, other._users._kept._entries

    assert len(kept) == 32
    assert kept != kept_by_other


@given(st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_only_a_bearer_token_is_one(value: str) -> None:
    """Any header can be read, and only a value that begins with the scheme has a token."""
    token = bearer_token([("Authorization", value)])

    assert token is None or value.strip().lower().startswith("bearer ")
    assert bearer_token([("authorization", f"bEARER {token}")]) == (token or "None")


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([("Authorization", "Bearer abc")], "abc"),
        ([("AUTHORIZATION", "  bearer abc  ")], "abc"),
        ([("Accept", "*/*"), ("Authorization", "Bearer a.b-c_d/e+f==")], "a.b-c_d/e+f=="),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], "a"),
        ([("Authorization", "Basic YTpi"), ("Authorization", "Bearer b")], None),
        ([("Authorization", "Bearer a b")], "a"),
        ([("Authorization", "Bearer")], None),
        ([("Authorization", "Bearer ")], None),
        ([("Authorization", "Bearer  abc")], None),
        ([("Authorization", "Bearerabc")], None),
        ([("Proxy-Authorization", "Bearer abc")], None),
        ([], None),
    ],
)
def test_the_token_of_a_request(headers: list[tuple[str, str]], token: str | None) -> None:
    """A token is found where a Go server finds it, and only there."""
    assert bearer_token(headers) == token
