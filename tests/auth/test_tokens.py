import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from metrics_server.auth.identity import User
from metrics_server.auth.tokens import TOKEN_REVIEWS, TokenReviews, bearer_token
from metrics_server.errors import KubernetesError, UnauthorizedError
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import Handler
from metrics_server.simulator.kube.objects import Object
from metrics_server.simulator.kube.reviews import Reviews
from tests.support.clock import Clock
from tests.support.data import KUBE_API
from tests.support.kubernetes import kubernetes
from tests.support.reviews import caller_of
from tests.support.waiting import until

ALICE = User("alice", uid="1", groups=("dev", "system:authenticated"), extra=(("k", ("v", "w")),))
BOB = User("bob")


def recorded(recording: str) -> tuple[Object, Object]:
    """The body of a recorded request, and that of its answer."""
    found = json.loads((KUBE_API / f"tokenreview-{recording}.json").read_bytes())
    return found["request"]["body"], found["response"]["body"]


class Door:
    """Stands before a handler of reviews.

    Attributes:
        bodies: what was asked.
        open: while it is not set, nothing is answered.
        answer: what answers.
    """

    def __init__(self, answer: Handler) -> None:
        self.bodies: list[Object] = []
        self.open = asyncio.Event()
        self.open.set()
        self.answer = answer

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """The answer, once it may go out."""
        assert (request.method, request.path) == ("POST", TOKEN_REVIEWS)
        self.bodies.append(await request.json())
        await self.open.wait()
        return await self.answer(request)

    async def asked(self, times: int) -> None:
        """Return once so many reviews were asked for."""
        await until(lambda: len(self.bodies) >= times)

    def always(self, body: object, status: int = 201) -> None:
        """Answer everything by this."""

        async def answer(_: web.Request) -> web.Response:
            return web.json_response(body, status=status)

        self.answer = answer


@pytest.fixture
async def client(door: Door, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client of the API whose reviews are behind the door."""
    async with kubernetes(tmp_path) as (api, made):
        api.aggregate("authentication.k8s.io", "v1", door)
        yield made


@pytest.fixture
def door() -> Door:
    """What stands before reviews that know two tokens."""
    return Door(Reviews({"of-alice": caller_of(ALICE), "of-bob": caller_of(BOB)}).token_review)


@pytest.fixture
def clock() -> Clock:
    """What the tokens' answers age by."""
    return Clock(1000)


@pytest.fixture
def tokens(client: KubernetesClient, clock: Clock) -> TokenReviews:
    """What is tested."""
    return TokenReviews(client, clock=clock)


async def test_a_recorded_review_gives_its_user(door: Door, tokens: TokenReviews) -> None:
    """A real API server's question and answer are ours."""
    question, answer = recorded("authenticated")
    door.always(answer)

    user = await tokens.user("(a service account token)")

    assert door.bodies == [question]
    assert user == User(
        "system:serviceaccount:default:default",
        uid="877198af-0460-45f4-8782-26bc0866371f",
        groups=(
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated",
        ),
        extra=(
            (
                "authentication.kubernetes.io/credential-id",
                ("JTI=1a287f4d-142f-4b57-a085-6bc942130596",),
            ),
        ),
    )


async def test_a_recorded_refusal_is_one(door: Door, tokens: TokenReviews) -> None:
    """A token that a real API server does not know is not good; it is asked each time."""
    question, answer = recorded("rejected")
    door.always(answer)

    for _ in range(2):
        with pytest.raises(UnauthorizedError):
            await tokens.user("not-a-token")

    assert door.bodies == [question] * 2


@pytest.mark.parametrize(
    ("recording", "token"),
    [("authenticated", "(a service account token)"), ("rejected", "not-a-token")],
)
async def test_reviews_of_the_demo_are_as_recorded(recording: str, token: str) -> None:
    """The API of the demo answers a review as a real one does, but for the time."""
    question, answer = recorded(recording)
    user = User(
        "system:serviceaccount:default:default",
        "877198af-0460-45f4-8782-26bc0866371f",
        ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"),
        (
            (
                "authentication.kubernetes.io/credential-id",
                ("JTI=1a287f4d-142f-4b57-a085-6bc942130596",),
            ),
        ),
    )
    reviews = Reviews({"(a service account token)": caller_of(user)})
    app = web.Application()
    app.router.add_post(TOKEN_REVIEWS, reviews.token_review)
    async with TestClient(TestServer(app)) as client:
        response = await client.post(TOKEN_REVIEWS, json=question)
        given_answer = await response.json()

    given_answer["metadata"]["managedFields"][0]["time"] = "2026-11-24T08:31:26Z"
    assert question["spec"] == {"token": token}
    assert response.status == web.HTTPCreated.status_code
    assert response.content_type == "application/json"
    assert given_answer == answer
    assert reviews.token_reviews == 1


async def test_each_token_has_its_user(door: Door, tokens: TokenReviews) -> None:
    """Every part of a user is kept; users that differ in any part are not mixed up."""
    users = [
        User("u"),
        User("U"),
        User("u", uid="1"),
        User("u", groups=("a", "b")),
        User("u", groups=("b", "a")),
        User("u", groups=("a,b",)),
        User("u", extra=(("a,b", ("v",)),)),
        User("u", extra=(("a%2cb", ("v",)),)),
        User("u", extra=(("a", ("v", "w")),)),
        User("u", extra=(("a", ("v,w",)),)),
        User("u", extra=(("a", ("v",)), ("b", ("w",)))),
        User("u", extra=(("a", ("w",)), ("b", ("v",)))),
    ]
    door.answer = Reviews({f"t{n}": caller_of(user) for n, user in enumerate(users)}).token_review

    found = [await tokens.user(f"t{n}") for n in range(len(users))]

    assert found == users
    assert len(set(found)) == len(users)


async def test_the_order_of_an_object_is_nothing(door: Door, tokens: TokenReviews) -> None:
    """An extra is one by its keys, in whatever order a server writes them."""
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
    """A yes and a no both serve for 10 s, and no longer; another token is another question."""
    door.always({"kind": "TokenReview", "status": status})

    for elapsed, reviews in ((0.0, 1), (9.9, 1), (10.0, 2), (19.9, 2)):
        clock.now = 1000 + elapsed
        assert await tokens.user("t") == user
        assert len(door.bodies) == reviews
    assert await tokens.user("T") == user
    assert len(door.bodies) == 3


async def test_reviews_of_one_token_are_shared(door: Door, tokens: TokenReviews) -> None:
    """Requests that come with one token at once cost one review, and one may give up."""
    door.open.clear()
    asking = [asyncio.create_task(tokens.user("of-alice")) for _ in range(20)]
    await door.asked(1)

    asking.pop(0).cancel()
    door.open.set()

    assert set(await asyncio.gather(*asking)) == {ALICE}
    assert len(door.bodies) == 1


@pytest.mark.slow
async def test_a_failure_is_shared_and_not_kept(door: Door, tokens: TokenReviews) -> None:
    """A failure reaches all who wait; the next caller gets a new review."""
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
    """An answer that cannot be read makes nobody a user, and is not kept."""
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


async def test_reviews_leave_room_for_other_calls(
    door: Door, client: KubernetesClient, tokens: TokenReviews
) -> None:
    """However many tokens come at once, what else the API is asked is answered meanwhile."""
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
    """A token is not good, and not bad either, while nobody can be asked."""
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
    """Not even what a server repeats of a token comes into a log, an error or what is kept."""
    door.always(body, status)

    with capture_logs() as logs, pytest.raises((KubernetesError, UnauthorizedError)) as raised:
        await tokens.user("secret-token")

    assert "secret-token" not in str(logs)
    assert "secret-token" not in str(raised.value)


async def test_a_token_is_not_kept(client: KubernetesClient, tokens: TokenReviews) -> None:
    """What is kept of a token is a hash that another process makes otherwise."""
    await tokens.user("of-alice")
    other = TokenReviews(client)
    await other.user("of-alice")

    (kept,), (kept_by_other,) = tokens._users._kept._entries, other._users._kept._entries

    assert len(kept) == 32
    assert kept != kept_by_other


@given(st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_only_a_bearer_token_is_one(value: str) -> None:
    """Any header can be read, and what does not begin by the scheme holds no token."""
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
