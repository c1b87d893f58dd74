"""The simulated Kubernetes API's reviews: what it understands, and what it rejects."""

from collections.abc import Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from metrics_server.simulator.kube.objects import Object
from metrics_server.simulator.kube.reviews import Access, Caller, Requirement, Reviews

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
RESOURCE = {"verb": "list", "group": "g", "version": "v", "resource": "r", "namespace": "n"}


async def reviewed(reviews: Reviews, spec: Mapping[str, object]) -> tuple[int, Object]:
    """The response to a SubjectAccessReview: its HTTP status and body."""
    app = web.Application()
    app.router.add_post(PATH, reviews.subject_access_review)
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": spec,
    }
    async with TestClient(TestServer(app)) as client:
        answer = await client.post(PATH, json=review)
        return answer.status, await answer.json()


async def test_all_of_a_review_is_decided_upon() -> None:
    """The user, the operation, and the selectors."""
    seen: list[tuple[Caller, Access]] = []

    def decide(caller: Caller, access: Access) -> Object:
        seen.append((caller, access))
        return {"allowed": True}

    reviews = Reviews({})
    reviews.decide = decide
    selector = {"requirements": [{"key": "k", "operator": "In", "values": ["a", "b"]}]}
    spec = {
        "user": "u",
        "uid": "1",
        "groups": ["g1", "g2"],
        "extra": {"e": ["x", "y"]},
        "resourceAttributes": {**RESOURCE, "name": "m", "labelSelector": selector},
    }
    status, body = await reviewed(reviews, spec)
    assert (status, body["status"]) == (201, {"allowed": True})
    required = (Requirement("k", "In", ("a", "b")),)
    assert seen == [
        (
            Caller("u", "1", ("g1", "g2"), {"e": ("x", "y")}),
            Access("list", "n", "g", "v", "r", "m", labels=required),
        )
    ]
    await reviewed(reviews, {"user": "u", "nonResourceAttributes": {"path": "/p", "verb": "get"}})
    assert seen[1] == (Caller("u"), Access("get", path="/p"))


@pytest.mark.parametrize(
    "spec",
    [
        {"user": "u"},
        {"resourceAttributes": RESOURCE},
        {
            "user": "u",
            "resourceAttributes": RESOURCE,
            "nonResourceAttributes": {"path": "/", "verb": "get"},
        },
        {"user": "u", "resource_attributes": RESOURCE},
        {"user": "u", "resourceAttributes": {**RESOURCE, "labels": []}},
        {"user": "u", "groups": "g", "resourceAttributes": RESOURCE},
    ],
    ids=["no question", "nobody", "two questions", "another name", "unknown field", "wrong type"],
)
async def test_what_is_not_a_review_is_refused(spec: Mapping[str, object]) -> None:
    """It is stricter than a real API server, which ignores unknown fields."""
    reviews = Reviews({})
    reviews.decide = lambda _caller, _access: {"allowed": True}
    status, body = await reviewed(reviews, spec)
    assert (status, body["kind"], body["reason"]) == (422, "Status", "Invalid")
