"""Which answers to a SubjectAccessReview allow a request."""

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.request_info import attributes_of
from metrics_server.errors import ConfigurationError, ReviewError
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.faults import Fault, FaultKind
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import Object
from metrics_server.simulator.kube.reviews import Reviews
from tests.support.authorization import ALICE, ALLOWED, GROUP, METRIC, is_allowed
from tests.support.kubernetes import gone

SELECTED = attributes_of("GET", f"/apis/{GROUP}/v1beta1/namespaces/default/x", "labelSelector=a")


async def test_a_star_elsewhere_is_a_mistake(client: KubernetesClient) -> None:
    """A * anywhere but at the end of a path is a configuration error."""
    with pytest.raises(ConfigurationError, match="--authorization-always-allow-paths /a/\\*/b"):
        Authorizer(client, always_allow_paths=["/healthz", "/a/*/b"])


UNDECIDED: dict[str, Object] = {
    "an error in place of a decision": {"allowed": False, "evaluationError": "no informer"},
    "both": {"allowed": True, "denied": True},
    "no decision": {},
    "no boolean": {"allowed": "true"},
    "a number": {"allowed": 1},
    "null": {"allowed": None},
}


@pytest.mark.parametrize("status", UNDECIDED.values(), ids=UNDECIDED)
async def test_anything_but_a_decision_does_not_allow(
    authorizer: Authorizer, reviews: Reviews, status: Object
) -> None:
    """An answer without a decision is an error, which is not cached."""
    reviews.decide = lambda _user, _attributes: status
    for _ in range(2):
        with pytest.raises(ReviewError) as failed:
            await authorizer.authorize(ALICE, METRIC)
        assert (failed.value.code, failed.value.reason) == (500, "review-failed")
    assert len(reviews.access_reviews) == 2
    reviews.decide = lambda _user, _attributes: ALLOWED
    assert await is_allowed(authorizer, ALICE, METRIC)


@pytest.mark.parametrize(
    ("decision", "allowed"),
    [({"allowed": True}, True), ({"allowed": False, "denied": True}, False)],
)
async def test_a_decision_in_spite_of_an_error_counts(
    *, authorizer: Authorizer, reviews: Reviews, decision: Object, allowed: bool
) -> None:
    """A decision counts even with an error: RBAC can miss one role and yet allow by another."""
    reviews.decide = lambda _user, _attributes: {**decision, "evaluationError": "half"}
    assert await is_allowed(authorizer, ALICE, METRIC) == allowed


@pytest.mark.parametrize(
    ("of_all", "of_some", "allowed"),
    [
        (ALLOWED, {"allowed": False}, True),
        ({"allowed": False}, ALLOWED, True),
        ({"allowed": False}, {"allowed": False}, False),
        *((status, ALLOWED, True) for status in UNDECIDED.values()),
        *((status, {"allowed": False}, False) for status in UNDECIDED.values()),
    ],
)
async def test_what_is_not_allowed_without_selectors_is_decided_with_them(
    authorizer: Authorizer, reviews: Reviews, *, of_all: Object, of_some: Object, allowed: bool
) -> None:
    """Some authorizers allow only what the caller selects, or can decide only about that."""
    reviews.decide = lambda _user, access: of_some if access.labels else of_all
    with capture_logs() as logs:
        assert await is_allowed(authorizer, ALICE, SELECTED) == allowed
    assert len(reviews.access_reviews) == (1 if of_all is ALLOWED else 2)
    assert not logs


@pytest.mark.parametrize("status", UNDECIDED.values(), ids=UNDECIDED)
async def test_no_decision_with_selectors_is_an_error(
    authorizer: Authorizer, reviews: Reviews, status: Object
) -> None:
    """Without a decision on the selectors, a denial without them is an error."""
    denied: Object = {"allowed": False}
    reviews.decide = lambda _user, access: status if access.labels else denied
    with pytest.raises(ReviewError):
        await authorizer.authorize(ALICE, SELECTED)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["error", "garbage", "hang"])
async def test_a_failed_review_does_not_allow(
    client: KubernetesClient,
    reviews: Reviews,
    fault: FaultKind,
) -> None:
    """A failed review is an error in time, is not cached, and is logged once, as is recovery."""
    authorizer = Authorizer(client, timeout=0.1 if fault == "hang" else 10)
    reviews.set_fault(Fault(fault))
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(ReviewError, match="did not decide") as failed:
                await authorizer.authorize(ALICE, METRIC)
            assert failed.value.code == 500
        reviews.set_fault(None)
        assert not await is_allowed(authorizer, ALICE, METRIC)
    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("warning", "access reviews failing"),
        ("info", "access reviews recovered"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"null",
        b'{"kind": "Status", "status": {"allowed": true}}',
        b'{"status": {"allowed": true}}',
        b'{"kind": "SubjectAccessReview", "status": null}',
        b'{"kind": "SubjectAccessReview", "allowed": true}',
        b'{"kind": "SubjectAccessReview", "status": {"allowed": true}',
        b'{"kind": "SubjectAccessReview", "status": {"allowed": true, "reason": "\xff"}}',
    ],
)
async def test_a_malformed_review_does_not_allow(
    api: KubernetesAPI, authorizer: Authorizer, body: bytes
) -> None:
    """Only a SubjectAccessReview decides, whatever a 201 contains."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=201, body=body, content_type="application/json")

    api.aggregate("authorization.k8s.io", "v1", answer)
    with pytest.raises(ReviewError):
        await authorizer.authorize(ALICE, METRIC)


@pytest.mark.slow
async def test_a_lost_connection_does_not_allow(api: KubernetesAPI, authorizer: Authorizer) -> None:
    """Nobody is allowed while the API is down."""
    async with gone(api):
        with pytest.raises(ReviewError, match="cannot be reached"):
            await authorizer.authorize(ALICE, METRIC)


async def test_a_server_that_may_not_ask_tells_what_to_do(
    api: KubernetesAPI, authorizer: Authorizer
) -> None:
    """The message names the missing role."""
    api.faults.refuse_next(
        403, 'subjectaccessreviews is forbidden: User "x" cannot create resource'
    )
    with pytest.raises(ReviewError, match=r"cannot create resource.*ClusterRole system:auth-deleg"):
        await authorizer.authorize(ALICE, METRIC)
