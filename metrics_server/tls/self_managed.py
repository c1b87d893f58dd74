"""A serving certificate that the server manages itself: `--self-managed-certs`.

All replicas share one Secret, and publish the CA bundle in it: as the caBundle of each APIService,
and in a ConfigMap. `tls.bundle` decides what to do, and when; this module does it, through the
Kubernetes API. Each write succeeds only if nobody else has written meanwhile: one of several
replicas is first, and the others read again and find it done.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

import structlog

from metrics_server.common.backoff import Backoff
from metrics_server.common.outages import Outage
from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.kube.events import Events
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.api_service import ApiServiceBundle
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.bundle import Policy, Publish, Rest, State, Store, next_step
from metrics_server.tls.config_map import ConfigMapBundle
from metrics_server.tls.pairs import utc_text, validity
from metrics_server.tls.publication import Publication
from metrics_server.tls.shared import Kubernetes, SharedSecret, StoredSecret

# Any change needs fewer steps in a row; more mean that somebody else keeps writing.
_MAX_STEPS = 10
_BACKOFF_BASE_SECONDS = 1.0
_BACKOFF_CAP_SECONDS = 30.0

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
        service: the Service that the APIServices name.
        namespace: the namespace of the Service, the Secret and the ConfigMap.
        secret: the name of the Secret.
        config_map: the name of the ConfigMap.
        api_services: the names of the APIServices.
        events: emits events about those that another writer overwrites.
        use: serves with a pair; called in a thread.
        monitor: records when the certificate expires.
        policy: the names and lifetimes, if not the default.
        interval: how often to check whether another replica has changed something, in seconds.
        sleep: waits for a number of seconds.
        rand: returns a number in [0, 1).
        clock: returns the current time.
        ticks: seconds that never run backwards.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        *,
        service: str,
        namespace: str,
        secret: str,
        config_map: str,
        api_services: Sequence[str],
        events: Events,
        use: Callable[[KeyPair], None],
        monitor: Monitor,
        policy: Policy | None = None,
        interval: float = 30,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rand: Callable[[], float] = random.random,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret = SharedSecret(kubernetes, namespace, secret)
        publication = partial(Publication, events=events, rand=rand, clock=ticks)
        self._publications = [
            *(
                publication(ApiServiceBundle(kubernetes, name, namespace, service))
                for name in api_services
            ),
            publication(ConfigMapBundle(kubernetes, namespace, config_map)),
        ]
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
        self._clock = clock
        self._serving: KeyPair | None = None

    @property
    def bundle_error(self) -> str | None:
        """Why clients may not have the CA bundle, as sentences; None if nothing is known."""
        return "; ".join(filter(None, (one.problem for one in self._publications))) or None

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
            self._outage.recovered()
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
        failed: list[KubernetesError] = []
        active = list(self._publications)
        for _ in range(_MAX_STEPS):
            # Read the bundles first: the Secret is then at least as new, so the bundle of a newer
            # state is never overwritten with that of an older one.
            for one in active:
                await one.look()
            secret = await self._secret.read()
            if secret.state is not None:
                await self._serve_with(secret.state)
            places = [one.place for one in self._publications if one.place is not None]
            match next_step(secret.state, places, self._clock(), self._policy):
                case Store(state):
                    await self._store(secret, state)
                case Publish(bundle):
                    active = [one for one in active if await _publish(one, bundle, failed)]
                case Rest(until):
                    for one in active:
                        one.rest()
                    if failed:
                        raise failed[0]
                    return until
        raise KubernetesError("something else keeps changing the Secret or the APIService")

    async def _store(self, before: StoredSecret, state: State) -> None:
        try:
            await self._secret.write(before, state)
        except KubernetesError as error:
            if error.code != HTTPStatus.CONFLICT:  # another replica was first
                raise

    async def _serve_with(self, state: State) -> None:
        """Serve with the shared pair, and only with that."""
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


async def _publish(one: Publication, bundle: bytes, failed: list[KubernetesError]) -> bool:
    """Publish a bundle in one place; a failure is kept, and does not stop the others."""
    try:
        return await one.publish(bundle)
    except KubernetesError as error:
        failed.append(error)
        return False
