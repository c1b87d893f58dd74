"""Asks the Kubernetes API for a review, again where it is worth it, within one deadline."""

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

# After these, and no more, as the webhooks of k8s.io/apiserver do. A review changes nothing, so one
# that may have been made already can be asked for again.
_MAX_ATTEMPTS = 5
_BACKOFF_SECONDS = 0.2


def unknown_callers(clock: Callable[[], float]) -> Rates:
    """How many reviews there may be because of callers that nobody knows, by address.

    In all half of what client-go lets a server ask for in a second, so that they leave room.
    """
    return Rates(each=Rate(20, 40), total=Rate(100, 200), clock=clock)


class Reviewing:
    """Sends reviews of one kind.

    kube-apiserver answers 429 when it is busy, and 5xx while a replica of it starts or stops. One
    such answer must not cost a caller theirs, so the review is asked for again: after what
    Retry-After says, or else after a pause that doubles. If the deadline would pass meanwhile, the
    refusal is the answer at once.

    Args:
        client: of the Kubernetes API.
        path: where reviews of this kind are made.
        timeout: how long a review may take with all its attempts, in seconds.
        under_way: how many may be asked for at once; a pause takes no place.
        sleep: waits for a number of seconds.
        rand: a number from 0 up to 1.
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
        """The body of the answer.

        Raises:
            KubernetesError: it is not a 2xx, or none came within the deadline.
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
                    not _is_worth_another(error)
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


def _is_worth_another(refusal: KubernetesError) -> bool:
    code = refusal.code
    # Without a code no answer came at all, as when the connection was reset.
    return (
        code is None
        or code == HTTPStatus.TOO_MANY_REQUESTS
        or code >= HTTPStatus.INTERNAL_SERVER_ERROR
    )
