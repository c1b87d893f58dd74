"""The server's SubjectAccessReviews."""

import json
from datetime import datetime

import msgspec
import pytest
from aiohttp import ClientSession

from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.identity import ANONYMOUS, MASTERS, User
from metrics_server.auth.request_info import Attributes, attributes_of
from metrics_server.errors import ForbiddenError, ReviewError
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import Object
from metrics_server.simulator.kube.reviews import Reviews
from tests.support.authorization import ALICE, GROUP, METRIC, is_allowed
from tests.support.data import KUBE_API
from tests.support.reviews import access_of, caller_of

PATH = Attributes("get", path="/metrics")

HPA = User(
    "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    groups=(
        "system:serviceaccounts",
        "system:serviceaccounts:kube-system",
        "system:authenticated",
    ),
)

RECORDED = {
    "subjectaccessreview-allowed": (HPA, METRIC),
    "subjectaccessreview-denied": (ALICE, METRIC),
    "subjectaccessreview-nonresource-denied": (ALICE, PATH),
}


class Exchange(msgspec.Struct):
    """A recorded request, or its answer."""

    body: dict[str, object]
    method: str = ""
    path: str = ""
    headers: dict[str, str] = {}
    status: int = 0


class Recording(msgspec.Struct):
    """A real API server's question and answer."""

    request: Exchange
    response: Exchange

    @property
    def told(self) -> Object:
        """The status of the review."""
        status: Object = json.loads(json.dumps(self.response.body["status"]))
        return status


def recording(name: str) -> Recording:
    """A recording, by name."""
    return msgspec.json.decode((KUBE_API / f"{name}.json").read_bytes(), type=Recording)


@pytest.mark.parametrize("name", RECORDED)
async def test_the_question_is_the_recorded_one(
    api: KubernetesAPI, authorizer: Authorizer, reviews: Reviews, name: str
) -> None:
    """A review has exactly the fields of the recorded one."""
    recorded = recording(name)
    user, attributes = RECORDED[name]
    reviews.decide = lambda _user, _attributes: recorded.told
    assert await is_allowed(authorizer, user, attributes) == recorded.told["allowed"]
    assert [*reviews.access_reviews] == [recorded.request.body]
    assert [url.path for url in api.requests] == [recorded.request.path]


def timeless(review: dict[str, object]) -> dict[str, object]:
    """A review without its creation time."""
    metadata = msgspec.convert(review["metadata"], dict[str, list[dict[str, object]]])
    (managed,) = metadata["managedFields"]
    assert datetime.fromisoformat(str(managed["time"])).tzinfo
    return {**review, "metadata": {"managedFields": [{**managed, "time": ""}]}}


@pytest.mark.parametrize("name", RECORDED)
async def test_the_simulated_answer_is_the_recorded_one(
    api: KubernetesAPI, reviews: Reviews, name: str
) -> None:
    """The simulated API server answers like a real one, except for the time."""
    recorded = recording(name)
    asking, attributes = RECORDED[name]
    asked = caller_of(asking), access_of(attributes)
    reviews.decide = lambda user, attributes: (
        recorded.told if (user, attributes) == asked else {"allowed": None}
    )
    request = recorded.request
    async with (
        ClientSession(api.url) as session,
        session.request(
            request.method, request.path, json=request.body, headers=request.headers
        ) as answer,
    ):
        assert answer.status == recorded.response.status
        body = msgspec.json.decode(await answer.read(), type=dict[str, object])
    assert timeless(body) == timeless(recorded.response.body)


async def test_the_whole_identity_is_sent(authorizer: Authorizer, reviews: Reviews) -> None:
    """The uid and the extra are part of the identity."""
    user = User("u", "id-1", ("g",), (("scopes/a b", ("x", "y")), ("z", ("",))))
    assert not await is_allowed(authorizer, user, METRIC)
    assert reviews.access_reviews[0]["spec"] == {
        "user": "u",
        "uid": "id-1",
        "groups": ["g"],
        "extra": {"scopes/a b": ["x", "y"], "z": [""]},
        "resourceAttributes": {
            "namespace": "default",
            "verb": "list",
            "group": GROUP,
            "version": "v1beta1",
            "resource": "gpu_utilization",
        },
    }


BECAUSE = 'RBAC: role.rbac.authorization.k8s.io "metrics" not found'
ALICE_MAY_NOT = (
    'gpu_utilization.external.metrics.k8s.io is forbidden: User "alice" cannot list resource '
    '"gpu_utilization" in API group "external.metrics.k8s.io" in the namespace "default"'
)


@pytest.mark.parametrize(
    ("user", "attributes", "reason", "message"),
    [
        (ALICE, METRIC, "", ALICE_MAY_NOT),
        (ALICE, METRIC, BECAUSE, f"{ALICE_MAY_NOT}: {BECAUSE}"),
        (ANONYMOUS, PATH, "", 'forbidden: User "system:anonymous" cannot get path "/metrics"'),
        (ALICE, PATH, BECAUSE, f'forbidden: User "alice" cannot get path "/metrics": {BECAUSE}'),
        (
            User('a"b\nc'),
            Attributes("get", path="/\\"),
            "",
            'forbidden: User "a\\"b\\nc" cannot get path "/\\\\"',
        ),
    ],
)
async def test_a_refusal_is_in_the_words_of_the_api(
    *,
    authorizer: Authorizer,
    reviews: Reviews,
    user: User,
    attributes: Attributes,
    reason: str,
    message: str,
) -> None:
    """The error has the wording of every API server, with the review's reason."""
    reviews.decide = lambda _user, _attributes: {"allowed": False, "reason": reason}
    with pytest.raises(ForbiddenError) as refused:
        await authorizer.authorize(user, attributes)
    assert str(refused.value) == message
    told = (refused.value.group, refused.value.resource)
    assert told == (attributes.group, attributes.resource)


@pytest.mark.slow
async def test_masters_may_do_everything(authorizer: Authorizer, reviews: Reviews) -> None:
    """Masters need no review: the aggregator's probe must pass even if reviews fail."""
    reviews.set_fault(Fault("error"))
    for attributes in (METRIC, PATH):
        assert await is_allowed(authorizer, User("u", groups=("a", MASTERS)), attributes)
    assert not reviews.access_reviews
    for near in ("System:masters", "system:masters ", "system:masters,a"):
        with pytest.raises(ReviewError):
            await authorizer.authorize(User(MASTERS, groups=(near,)), METRIC)


# What is configured, a path, and whether that is always allowed.
PATHS: list[tuple[list[str] | None, str, bool]] = [
    (None, "/healthz", True),
    (None, "/livez", True),
    (None, "/readyz", True),
    (None, "/readyz/", True),
    (None, "/readyz//", True),
    (None, "/readyz/ping", False),
    (None, "/healthz%2F", False),
    (None, "/HEALTHZ", False),
    (None, "//healthz", False),
    (None, "/healthz/..", False),
    (None, "/healthzz", False),
    (None, "/", False),
    (None, "/metrics", False),
    (["/metrics"], "/healthz", False),
    (["/metrics"], "/metrics", True),
    (["metrics"], "/metrics", True),
    (["/readyz/*"], "/readyz/ping", True),
    (["/readyz/*"], "/readyz", False),
    (["/readyz*"], "/readyz", True),
    (["/*"], "/anything", True),
    (["*"], "/", True),
    (["/"], "/", True),
    (["/"], "/metrics", False),
    (["/*"], f"/apis/{GROUP}/v1beta1/namespaces/default/gpu_utilization", False),
    ([], "/healthz", False),
]


async def test_paths_that_are_always_allowed(client: KubernetesClient, reviews: Reviews) -> None:
    """Only configured paths need no review, whole or with a * at the end, and never a resource."""
    for configured, path, allowed in PATHS:
        authorizer = (
            Authorizer(client)
            if configured is None
            else Authorizer(client, always_allow_paths=configured)
        )
        reviews.access_reviews.clear()
        asked = attributes_of("GET", path, "")
        assert await is_allowed(authorizer, ANONYMOUS, asked) == allowed, (configured, path)
        assert len(reviews.access_reviews) == (not allowed)
