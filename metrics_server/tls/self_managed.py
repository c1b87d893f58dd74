"""A serving certificate that needs nobody: `--self-managed-certs`.

All replicas share one Secret, and keep the caBundle of the APIService in step with it. What is to
be done, and when, `tls.bundle` decides; here it is done, through the Kubernetes API. Each
write holds only if nobody else wrote meanwhile: of several replicas one is first, and the others
read again and find it done.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus

import structlog

from metrics_server.common.backoff import Backoff
from metrics_server.common.outages import Outage
from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.bundle import Policy, Publish, Rest, State, Store, next_step
from metrics_server.tls.pairs import told, validity
from metrics_server.tls.shared import (
    Kubernetes,
    SharedBundle,
    SharedSecret,
    StoredBundle,
    StoredSecret,
)

# So many in a row are enough for any change; more are a dispute with somebody else who writes.
_MAX_STEPS = 10
_BACKOFF_BASE_SECONDS = 1.0
_BACKOFF_CAP_SECONDS = 30.0

# There is no APIService, or it is not ours, or we may not write it: till somebody mends that.
_NO_PLACE = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY})

log = structlog.stdlib.get_logger(__name__)


def names_of(service: str, namespace: str) -> list[str]:
    """The DNS names of a Service; the first is the one that kube-apiserver verifies."""
    return [
        f"{service}.{namespace}.svc",
        service,
        f"{service}.{namespace}",
        f"{service}.{namespace}.svc.cluster.local",
    ]


class SelfManaged:
    """Keeps a server in a valid serving pair, and its clients in a bundle that verifies it.

    Args:
        kubernetes: the door to the Kubernetes API.
        service: the Service that the APIService names.
        namespace: the namespace of it, and of the Secret.
        secret: the name of the Secret.
        use: takes up a serving pair, in a thread.
        monitor: told of pairs taken up.
        policy: what is wanted, if not the default.
        interval: how often it is looked whether another replica has changed something, in seconds.
        sleep: waits for a number of seconds.
        rand: a number from 0 up to 1.
        clock: the present.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        *,
        service: str,
        namespace: str,
        secret: str,
        use: Callable[[KeyPair], None],
        monitor: Monitor,
        policy: Policy | None = None,
        interval: float = 30,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rand: Callable[[], float] = random.random,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._secret = SharedSecret(kubernetes, namespace, secret)
        self._bundle = SharedBundle(kubernetes, namespace, service)
        self._policy = policy or Policy(names_of(service, namespace))
        self._use = use
        self._monitor = monitor
        self._interval = interval
        self._sleep = sleep
        self._rand = rand
        self._backoff = Backoff(_BACKOFF_BASE_SECONDS, _BACKOFF_CAP_SECONDS, rand)
        self._outage = Outage(
            log,
            "the serving certificate could not be looked after",
            "the serving certificate is looked after again",
            each_error=True,
        )
        self._unpublished = Outage(
            log,
            "the bundle of authorities cannot be published",
            "the bundle of authorities has a place again",
            each_error=True,
        )
        self._clock = clock
        self._serving: KeyPair | None = None

    @property
    def bundle_error(self) -> str | None:
        """Why the bundle cannot be published to clients, as a sentence; None while it can."""
        return self._unpublished.error

    def check(self) -> str | None:
        """Why there is no certificate to be relied on, as a sentence; None while there is one."""
        if self._serving is None:
            why = self._outage.error or "it is being made"
            return f"there is no serving certificate yet: {why}"
        return validity(self._serving.certificate).complaint(self._clock())

    async def run(self) -> None:
        """Keep everything in step, until cancelled; no error of the cluster's ends it."""
        while True:
            try:
                until = await self.settle()
            except KubernetesError as error:
                self._outage.failed(error)
                await self._sleep(self._backoff.pause())
                continue
            self._backoff.reset()
            left = (until - self._clock()).total_seconds()
            # Not all replicas at the same moment.
            await self._sleep(max(0.0, min(self._interval, left)) + self._rand())

    async def settle(self) -> datetime:
        """Do what there is to do, and tell when to look again at the latest.

        Raises:
            KubernetesError: the Kubernetes API refused something or could not be reached, or what
                it holds is not ours.
        """
        publishable = True
        for _ in range(_MAX_STEPS):
            # The bundle first: what is then read of the Secret is at least as new, so that no
            # bundle of an older state is written over that of a newer one.
            place = await self._read_bundle() if publishable else None
            secret = await self._secret.read()
            if secret.state is not None:
                await self._take_up(secret.state)
            published = None if place is None else place.bundle
            step = next_step(secret.state, published, self._clock(), self._policy)
            match step:
                case Store(state):
                    await self._store(secret, state)
                case Publish(bundle) if place is not None:
                    publishable = await self._publish(place, bundle)
                case Rest(until):
                    return until
        raise KubernetesError("something else changes the Secret or the APIService all the time")

    async def _read_bundle(self) -> StoredBundle | None:
        """The bundle that clients are given; None where there is no place for it."""
        try:
            place = await self._bundle.read()
        except KubernetesError as error:
            if error.code not in _NO_PLACE:
                raise
            self._unpublished.failed(error)
            return None
        self._unpublished.recovered()
        return place

    async def _store(self, before: StoredSecret, state: State) -> None:
        try:
            await self._secret.write(before, state)
        except KubernetesError as error:
            if error.code != HTTPStatus.CONFLICT:  # another replica was first
                raise

    async def _publish(self, before: StoredBundle, bundle: bytes) -> bool:
        """Publish a bundle, and tell whether that can be done at all."""
        try:
            await self._bundle.write(before, bundle)
        except KubernetesError as error:
            if error.code in _NO_PLACE:
                self._unpublished.failed(error)
                return False
            if error.code != HTTPStatus.CONFLICT:
                raise
        return True

    async def _take_up(self, state: State) -> None:
        """Serve with what is shared, and only with that."""
        self._outage.recovered()
        if state.serving == self._serving:
            return
        try:
            await asyncio.to_thread(self._use, state.serving)
        except ConfigurationError as error:
            raise KubernetesError(f"the serving pair of the Secret is refused: {error}") from error
        self._serving = state.serving
        end = validity(state.serving.certificate).end
        self._monitor.certificate_used(end.timestamp())
        log.info("serving with a certificate of our own", expires=told(end))
