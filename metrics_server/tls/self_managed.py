"""A serving certificate that the server manages itself: `--self-managed-certs`.

All replicas share one Secret, and keep the caBundle of the APIService in sync with it. `tls.bundle`
decides what to do, and when; this module does it, through the Kubernetes API. Each write succeeds
only if nobody else has written meanwhile: one of several replicas is first, and the others read
again and find it done.
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
from metrics_server.tls.pairs import utc_text, validity
from metrics_server.tls.shared import (
    Kubernetes,
    SharedBundle,
    SharedSecret,
    StoredBundle,
    StoredSecret,
)

# Any change needs fewer steps in a row; more mean that somebody else keeps writing.
_MAX_STEPS = 10
_BACKOFF_BASE_SECONDS = 1.0
_BACKOFF_CAP_SECONDS = 30.0

# The APIService does not exist, is not ours, or we may not write it: someone has to fix that.
_NO_PLACE = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY})

log = structlog.stdlib.get_logger(__name__)


def names_of(service: str, namespace: str) -> list[str]:
    """Return the DNS names of a Service; the first is the one that kube-apiserver verifies."""
    return [
        f"{service}.{namespace}.svc",
        service,
        f"{service}.{namespace}",
        f"{service}.{namespace}.svc.cluster.local",
    ]


class SelfManaged:
    """Provides a server with a valid serving pair, and its clients with a bundle to verify it.

    Args:
        kubernetes: the client of the Kubernetes API.
        service: the Service that the APIService names.
        namespace: the namespace of the Service and the Secret.
        secret: the name of the Secret.
        use: serves with a pair; called in a thread.
        monitor: records when the certificate expires.
        policy: the names and lifetimes, if not the default.
        interval: how often to check whether another replica has changed something, in seconds.
        sleep: waits for a number of seconds.
        rand: returns a number in [0, 1).
        clock: returns the current time.
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
            "certificate renewal failing",
            "certificate renewal recovered",
            each_error=True,
        )
        self._unpublished = Outage(
            log,
            "CA bundle not published",
            "CA bundle can be published again",
            each_error=True,
        )
        self._clock = clock
        self._serving: KeyPair | None = None

    @property
    def bundle_error(self) -> str | None:
        """Why the CA bundle cannot be published, as a sentence; None while it can."""
        return self._unpublished.error

    def check(self) -> str | None:
        """Return what is wrong with the serving certificate, as a sentence; None if nothing is."""
        if self._serving is None:
            why = self._outage.error or "it is being created"
            return f"there is no serving certificate yet: {why}"
        return validity(self._serving.certificate).problem(self._clock())

    async def run(self) -> None:
        """Keep everything in sync until cancelled; no error of the cluster ends it."""
        while True:
            try:
                until = await self.settle()
            except KubernetesError as error:
                self._outage.failed(error)
                await self._sleep(self._backoff.pause())
                continue
            self._backoff.reset()
            left = (until - self._clock()).total_seconds()
            # Jitter, so that replicas do not act at the same moment.
            await self._sleep(max(0.0, min(self._interval, left)) + self._rand())

    async def settle(self) -> datetime:
        """Do everything that is due, and return when to check again at the latest.

        Raises:
            KubernetesError: the Kubernetes API refused something or could not be reached, or the
                Secret contains something else.
        """
        publishable = True
        for _ in range(_MAX_STEPS):
            # Read the bundle first: the Secret is then at least as new, so the bundle of a newer
            # state is never overwritten with that of an older one.
            place = await self._read_bundle() if publishable else None
            secret = await self._secret.read()
            if secret.state is not None:
                await self._serve_with(secret.state)
            published = None if place is None else place.bundle
            step = next_step(secret.state, published, self._clock(), self._policy)
            match step:
                case Store(state):
                    await self._store(secret, state)
                case Publish(bundle) if place is not None:
                    publishable = await self._publish(place, bundle)
                case Rest(until):
                    return until
        raise KubernetesError("something else keeps changing the Secret or the APIService")

    async def _read_bundle(self) -> StoredBundle | None:
        """Read the published bundle; None if it cannot be published."""
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
        """Publish a bundle, and return whether that is possible at all."""
        try:
            await self._bundle.write(before, bundle)
        except KubernetesError as error:
            if error.code in _NO_PLACE:
                self._unpublished.failed(error)
                return False
            if error.code != HTTPStatus.CONFLICT:
                raise
        return True

    async def _serve_with(self, state: State) -> None:
        """Serve with the shared pair, and only with that."""
        self._outage.recovered()
        if state.serving == self._serving:
            return
        try:
            await asyncio.to_thread(self._use, state.serving)
        except ConfigurationError as error:
            raise KubernetesError(
                f"the serving pair in the Secret cannot be used: {error}"
            ) from error
        self._serving = state.serving
        end = validity(state.serving.certificate).end
        self._monitor.certificate_used(end.timestamp())
        log.info("self-managed serving certificate loaded", expires=utc_text(end))
