"""Reviews are retried, on a real socket, depending on the Kubernetes API's answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.identity import User
from metrics_server.auth.request_info import Attributes
from metrics_server.auth.reviewing import Reviewing
from metrics_server.auth.tokens import TokenReviews
from metrics_server.errors import KubernetesError, ReviewError
from metrics_server.kube.client import KubernetesClient
from tests.support.kubernetes import kubernetes

ALICE = User("alice")
METRIC = Attributes("list", "default", "external.metrics.k8s.io", "v1beta1", "gpu_utilization")
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
Answer = Callable[[], web.Response]


def refusal(code: int, retry_after: str | None = None) -> Answer:
    """A Status, with or without a Retry-After."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    status = {"kind": "Status", "message": f"refused by {code}", "code": code}
    return lambda: web.json_response(status, status=code, headers=headers)


class Reviewer:
    """Answers reviews with the given answers, then with success; counts requests."""

    def __init__(self, *answers: Answer | None) -> None:
        self._answers = [*answers]
        self.asked = 0

    async def __call__(self, request: web.Request) -> web.Response:
        """The next answer; None closes the connection."""
        self.asked += 1
        kind = json.loads(await request.read())["kind"]
        if self._answers:
            answer = self._answers.pop(0)
            if answer is not None:
                return answer()
            assert request.transport is not None
            request.transport.abort()
        status = {"authenticated": True, "user": {"username": "alice"}, "allowed": True}
        return web.json_response({"kind": kind, "status": status}, status=201)


@asynccontextmanager
async def reviewed(folder: Path, reviewer: Reviewer) -> AsyncIterator[KubernetesClient]:
    """A client of an API with this reviewer."""
    async with kubernetes(folder) as (api, client):
        api.aggregate("authentication.k8s.io", "v1", reviewer)
        api.aggregate("authorization.k8s.io", "v1", reviewer)
        yield client


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refusal(429, "0"), id="429"),
        pytest.param(refusal(429), id="429 without a word of when"),
        pytest.param(refusal(500), id="500"),
        pytest.param(refusal(503, "0"), id="503"),
        pytest.param(refusal(504, "Wed, 21 Oct 2026 07:28:00 GMT"), id="504, with a date"),
        pytest.param(None, id="a connection that breaks off"),
    ],
)
async def test_one_failed_review_costs_nobody_an_answer(
    tmp_path: Path, answer: Answer | None
) -> None:
    """Failed reviews are retried, for tokens and for permissions."""
    reviewer = Reviewer(answer)
    async with reviewed(tmp_path, reviewer) as client:
        assert await TokenReviews(client).user("of-alice") == ALICE
    again = Reviewer(answer, answer)
    async with reviewed(tmp_path, again) as client:
        await Authorizer(client).authorize(ALICE, METRIC)
    assert (reviewer.asked, again.asked) == (2, 3)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
async def test_a_refusal_that_stays_is_not_asked_again(tmp_path: Path, code: int) -> None:
    """An error that a retry would not change is raised at once."""
    reviewer = Reviewer(*[refusal(code, "0")] * 5)
    async with reviewed(tmp_path, reviewer) as client:
        with pytest.raises(ReviewError, match=f"refused by {code}"):
            await Authorizer(client).authorize(ALICE, METRIC)
    assert reviewer.asked == 1


async def test_retries_end(tmp_path: Path) -> None:
    """After five attempts the last refusal is the answer."""
    reviewer = Reviewer(*[refusal(429, "0")] * 100)
    async with reviewed(tmp_path, reviewer) as client:
        with pytest.raises(ReviewError, match="refused by 429"):
            await Authorizer(client).authorize(ALICE, METRIC)
    assert reviewer.asked == 5


class Pauses:
    """Records the pauses, and does not wait."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Wait only as long as others need to proceed."""
        self.seconds.append(seconds)
        await asyncio.sleep(0)


async def test_retry_after_is_heeded_up_to_the_deadline(tmp_path: Path) -> None:
    """A pause within the deadline is made; one beyond it is not even begun."""
    pauses = Pauses()
    reviewer = Reviewer(refusal(429, "7"), refusal(503, "3"), refusal(503), refusal(429, "31"))
    async with reviewed(tmp_path, reviewer) as client:
        reviewing = Reviewing(
            client,
            REVIEWS,
            timeout=30,
            under_way=1,
            sleep=pauses,
            rand=lambda: 0.5,
        )
        with pytest.raises(KubernetesError, match="refused by 429"):
            await reviewing.send({"kind": "SubjectAccessReview"})
    assert pauses.seconds == [7, 3, pytest.approx(0.4)]
    assert reviewer.asked == 4


async def test_a_pause_takes_no_place(tmp_path: Path) -> None:
    """While one review waits for its retry, others are sent."""
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: float) -> None:
        waiting.set()
        await go_on.wait()

    reviewer = Reviewer(refusal(429, "1"))
    async with reviewed(tmp_path, reviewer) as client:
        reviewing = Reviewing(
            client,
            REVIEWS,
            timeout=30,
            under_way=1,
            sleep=wait,
        )
        first = asyncio.create_task(reviewing.send({"kind": "SubjectAccessReview"}))
        await waiting.wait()
        assert b"allowed" in await reviewing.send({"kind": "SubjectAccessReview"})
        go_on.set()
        assert b"allowed" in await first
