"""Users of bearer tokens, by TokenReviews."""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from metrics_server.auth.identity import User
from metrics_server.auth.tokens import TOKEN_REVIEWS, TokenReviews
from metrics_server.errors import UnauthorizedError
from metrics_server.simulator.kube.objects import Object
from metrics_server.simulator.kube.reviews import Reviews
from tests.support.data import KUBE_API
from tests.support.reviews import caller_of
from tests.support.token_reviews import Door


def recorded(recording: str) -> tuple[Object, Object]:
    """The body of a recorded request, and of its answer."""
    found = json.loads((KUBE_API / f"tokenreview-{recording}.json").read_bytes())
    return found["request"]["body"], found["response"]["body"]


async def test_a_recorded_review_gives_its_user(door: Door, tokens: TokenReviews) -> None:
    """The question is a real API server's, and its answer is understood."""
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
    """A token unknown to a real API server is invalid, and is reviewed each time."""
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
    """The demo's API answers a review like a real one, except for the time."""
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
