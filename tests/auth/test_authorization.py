"""Who may do what: the API is asked as a real one was, and nothing but its yes is a yes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, web
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.identity import ANONYMOUS, MASTERS, User
from metrics_server.auth.request_info import Attributes, attributes_of
from metrics_server.errors import (
    ConfigurationError,
    ForbiddenError,
    ReviewError,
    TooManyReviewsError,
)
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.faults import Fault, FaultKind
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import Object
from metrics_server.simulator.kube.reviews import Reviews
from tests.support.clock import Clock
from tests.support.data import KUBE_API
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected
from tests.support.reviews import access_of, caller_of
from tests.support.waiting import until

GROUP = "external.metrics.k8s.io"
METRIC = Attributes("list", "default", GROUP, "v1beta1", "gpu_utilization")
PATH = Attributes("get", path="/metrics")
ALICE = User("alice", groups=("dev", "system:authenticated"))
HPA = User(
    "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    groups=(
        "system:serviceaccounts",
        "system:serviceaccounts:kube-system",
        "system:authenticated",
    ),
)
ALLOWED: Object = {"allowed": True}
DENIED: Object = {"allowed": False}
RECORDED = {
    "subjectaccessreview-allowed": (HPA, METRIC),
    "subjectaccessreview-denied": (ALICE, METRIC),
    "subjectaccessreview-nonresource-denied": (ALICE, PATH),
}


class Exchange(msgspec.Struct):
    """A request of a recording, or its answer."""

    body: dict[str, object]
    method: str = ""
    path: str = ""
    headers: dict[str, str] = {}
    status: int = 0


class Recording(msgspec.Struct):
    """What a real API server was asked, and what it answered."""

    request: Exchange
    response: Exchange

    @property
    def told(self) -> Object:
        """The status of the review."""
        status: Object = json.loads(json.dumps(self.response.body["status"]))
        return status


def recording(name: str) -> Recording:
    """A recording, by its name."""
    return msgspec.json.decode((KUBE_API / f"{name}.json").read_bytes(), type=Recording)


@pytest.fixture
def reviews() -> Reviews:
    """What decides; at first it denies everything."""
    return Reviews({})


@pytest.fixture
async def api(reviews: Reviews) -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API that reviews access."""
    async with KubernetesAPI() as running:
        running.aggregate("authorization.k8s.io", "v1", reviews.subject_access_review)
        yield running


@pytest.fixture
async def client(api: KubernetesAPI, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client of that API."""
    async with connected(write_kubeconfig(tmp_path / "kubeconfig", api.url)) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    """A time that stands at 0."""
    return Clock()


@pytest.fixture
def authorizer(client: KubernetesClient, clock: Clock) -> Authorizer:
    """What is tested."""
    return Authorizer(client, clock=clock)


async def is_allowed(authorizer: Authorizer, user: User, attributes: Attributes) -> bool:
    """Whether a user may do that; an error of the review is raised."""
    try:
        await authorizer.authorize(user, attributes)
    except ForbiddenError:
        return False
    return True


@pytest.mark.parametrize("name", RECORDED)
async def test_the_question_is_the_recorded_one(
    api: KubernetesAPI, authorizer: Authorizer, reviews: Reviews, name: str
) -> None:
    """A review has the fields that a real API server was asked with, and no other."""
    recorded = recording(name)
    user, attributes = RECORDED[name]
    reviews.decide = lambda _user, _attributes: recorded.told
    assert await is_allowed(authorizer, user, attributes) == recorded.told["allowed"]
    assert [*reviews.access_reviews] == [recorded.request.body]
    assert [url.path for url in api.requests] == [recorded.request.path]


def timeless(review: dict[str, object]) -> dict[str, object]:
    """A review without the time at which it was made."""
    metadata = msgspec.convert(review["metadata"], dict[str, list[dict[str, object]]])
    (managed,) = metadata["managedFields"]
    assert datetime.fromisoformat(str(managed["time"])).tzinfo
    return {**review, "metadata": {"managedFields": [{**managed, "time": ""}]}}


@pytest.mark.parametrize("name", RECORDED)
async def test_the_simulated_answer_is_the_recorded_one(
    api: KubernetesAPI, reviews: Reviews, name: str
) -> None:
    """What stands in for an API server here answers as a real one did, but for the time."""
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
    """The error is worded as every API server does, with the review's reason."""
    reviews.decide = lambda _user, _attributes: {"allowed": False, "reason": reason}
    with pytest.raises(ForbiddenError) as refused:
        await authorizer.authorize(user, attributes)
    assert str(refused.value) == message
    told = (refused.value.group, refused.value.resource)
    assert told == (attributes.group, attributes.resource)


@pytest.mark.slow
async def test_masters_may_do_everything(authorizer: Authorizer, reviews: Reviews) -> None:
    """The aggregator's probe is one of them: it must pass even where no review can be had."""
    reviews.set_fault(Fault("error"))
    for attributes in (METRIC, PATH):
        assert await is_allowed(authorizer, User("u", groups=("a", MASTERS)), attributes)
    assert not reviews.access_reviews
    for near in ("System:masters", "system:masters ", "system:masters,a"):
        with pytest.raises(ReviewError):
            await authorizer.authorize(User(MASTERS, groups=(near,)), METRIC)


@pytest.mark.parametrize(
    ("configured", "path", "allowed"),
    [
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
    ],
)
async def test_paths_that_are_always_allowed(
    *,
    client: KubernetesClient,
    reviews: Reviews,
    configured: list[str] | None,
    path: str,
    allowed: bool,
) -> None:
    """They are just those configured, whole or by a * at the end, and never a resource."""
    authorizer = (
        Authorizer(client)
        if configured is None
        else Authorizer(client, always_allow_paths=configured)
    )
    assert await is_allowed(authorizer, ANONYMOUS, attributes_of("GET", path, "")) == allowed
    assert len(reviews.access_reviews) == (not allowed)


async def test_a_star_elsewhere_is_a_mistake(client: KubernetesClient) -> None:
    """It would not mean what whoever wrote it thinks."""
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
    """It is an error, and is not kept: the next one to ask gets the API's next answer."""
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
    """RBAC can miss one role and yet allow by another."""
    reviews.decide = lambda _user, _attributes: {**decision, "evaluationError": "half"}
    assert await is_allowed(authorizer, ALICE, METRIC) == allowed


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["error", "garbage", "hang"])
async def test_a_failed_review_does_not_allow(
    client: KubernetesClient,
    reviews: Reviews,
    fault: FaultKind,
) -> None:
    """It is an error within the time limit, is not kept, and is logged when it turns."""
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
    """Whatever a 201 brings, only a SubjectAccessReview decides."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=201, body=body, content_type="application/json")

    api.aggregate("authorization.k8s.io", "v1", answer)
    with pytest.raises(ReviewError):
        await authorizer.authorize(ALICE, METRIC)


@pytest.mark.slow
async def test_a_lost_connection_does_not_allow(api: KubernetesAPI, authorizer: Authorizer) -> None:
    """Nobody is let in because the API is gone."""
    await api.__aexit__()
    with pytest.raises(ReviewError, match="cannot be reached"):
        await authorizer.authorize(ALICE, METRIC)


async def test_a_server_that_may_not_ask_tells_what_to_do(
    api: KubernetesAPI, authorizer: Authorizer
) -> None:
    """The message names the role that is missing."""
    api.faults.refuse_next(
        403, 'subjectaccessreviews is forbidden: User "x" cannot create resource'
    )
    with pytest.raises(ReviewError, match=r"cannot create resource.*ClusterRole system:auth-deleg"):
        await authorizer.authorize(ALICE, METRIC)


@pytest.mark.parametrize("before", [ALLOWED, DENIED], ids=["allowed", "denied"])
async def test_a_change_of_rbac_is_seen_after_10_s(
    authorizer: Authorizer, reviews: Reviews, clock: Clock, before: Object
) -> None:
    """A decision holds for 10 s, be it a yes or a no, and no longer."""
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
    """A storm of one question is one review, also where it fails."""
    authorizer = Authorizer(client, timeout=0.1)
    reviews.set_fault(Fault("hang"))
    asked = (authorizer.authorize(ALICE, METRIC) for _ in range(50))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ReviewError}
    assert len(reviews.access_reviews) == 1


async def test_reviews_leave_connections_for_others(
    client: KubernetesClient, reviews: Reviews
) -> None:
    """However many different questions are asked, the API is not asked too many at once."""
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
async def test_reviews_are_bounded(authorizer: Authorizer, reviews: Reviews) -> None:
    """A user whose requests are always new leaves room for others; anonymous users leave more."""

    async def ask(user: User, times: int, address: str = "") -> int:
        before = len(reviews.access_reviews)
        for n in range(times):
            with suppress(ForbiddenError, TooManyReviewsError):
                await authorizer.authorize(user, Attributes("get", path=f"/{address}/{n}"), address)
        return len(reviews.access_reviews) - before

    assert await ask(User("eve"), 500) == 400
    assert await ask(User("hpa"), 100) == 100
    assert [await ask(ANONYMOUS, 50, address) for address in "abcdef"] == [40, 40, 40, 40, 40, 0]
    assert await ask(User("hpa"), 200) == 100


async def test_what_is_far_too_long_is_not_kept(authorizer: Authorizer, reviews: Reviews) -> None:
    """Whoever asks for nonsense fills no memory with it, and is decided on all the same."""
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
# Most of all those that are alike but for one part, or for the order within it.
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


# The API behind it is the same for all examples; each has an authorizer, and a cache, of its own.
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
    """Whatever part of an identity or a request differs, each has a review of its own."""
    first, second = identities
    assume((first, requests[0]) != (second, requests[1]))
    authorizer = Authorizer(client)
    allowed = caller_of(first), access_of(requests[0])
    reviews.decide = lambda user, attributes: {"allowed": (user, attributes) == allowed}
    for _ in range(2):
        assert await is_allowed(authorizer, first, requests[0])
        assert not await is_allowed(authorizer, second, requests[1])
