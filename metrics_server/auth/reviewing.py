"""Requests reviews from the Kubernetes API, with retries within one deadline."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from itertools import count

from msgspec import Struct

from metrics_server.common.backoff import Backoff
from metrics_server.common.rates import Rate, Rates
from metrics_server.errors import KubernetesError
from metrics_server.kube.client import KubernetesClient

REVIEW_SECONDS = 4
"""How long a review may take: less than the 5 s that kube-apiserver waits for discovery."""

# As many as the webhooks of k8s.io/apiserver make. A review changes nothing, so one that may have
# succeeded can be retried.
_MAX_ATTEMPTS = 5
_BACKOFF_SECONDS = 0.2


def unknown_callers(clock: Callable[[], float]) -> Rates:
    """Return the rates of reviews allowed for unknown callers, per address and in total.

    The total is half the rate that client-go allows a server, to leave room for known callers.
    """
    return Rates(each=Rate(20, 40), total=Rate(100, 200), clock=clock)


class Reviewing:
    """Sends reviews of one kind.

    kube-apiserver answers 429 when it is busy, and 5xx while one of its replicas starts or stops.
    One such answer must not fail the caller's request, so the review is retried: after the
    Retry-After, or else with exponential backoff. If the deadline would pass before the retry, the
    error is raised at once.

    Args:
        client: the client of the Kubernetes API.
        path: where to post reviews of this kind.
        timeout: how long a review may take, including retries, in seconds.
        under_way: how many reviews may be in flight at once; one that waits to retry doesn't count.
        sleep: waits for a number of seconds.
        rand: returns a number in [0, 1).
    """

    def __init__(
        self,
        client: KubernetesClient,
        path: str,
        *,
        timeout: float,
        under_way: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._path = path
        self._timeout = timeout
        self._slots = asyncio.Semaphore(under_way)
        self._sleep = sleep
        self._rand = rand

    async def send(self, review: Struct | Mapping[str, object]) -> bytes:
        """Send a review, and return the body of the answer.

        Raises:
            KubernetesError: the answer is not a 2xx, or none came before the deadline.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        backoff = Backoff(_BACKOFF_SECONDS, self._timeout, self._rand)
        for attempt in count(1):
            try:
                return await self._once(review, deadline - clock())
            except KubernetesError as error:
                pause = backoff.pause()
                if error.retry_after is not None:
                    pause = error.retry_after
                if (
                    not _is_retryable(error)
                    or attempt == _MAX_ATTEMPTS
                    or clock() + pause >= deadline
                ):
                    raise
            await self._sleep(pause)
        raise AssertionError("unreachable")

    async def _once(self, review: Struct | Mapping[str, object], left: float) -> bytes:
        try:
            async with asyncio.timeout(left), self._slots:
                return await self._client.send("POST", self._path, review, timeout=left + 1)
        except TimeoutError:
            raise KubernetesError(f"it did not answer within {self._timeout:g} s") from None


def _is_retryable(error: KubernetesError) -> bool:
    code = error.code
    # Without a code, no answer came at all, as when the connection was reset.
    return (
        code is None
        or code == HTTPStatus.TOO_MANY_REQUESTS
        or code >= HTTPStatus.INTERNAL_SERVER_ERROR
    )
