"""A guarded server over TLS."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from metrics_server.api.app import ApiServer, App
from metrics_server.api.discovery import build_discovery
from metrics_server.api.external_metrics import ExternalMetrics
from metrics_server.api.health import HealthCheck, HealthChecks
from metrics_server.api.openapi import build_openapi
from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.guard import Guard
from metrics_server.http.listener import listening
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.windows import Windows
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.reviews import Reviews
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.context import ListeningContext
from tests.support.guarding import Callers, Measured, Server
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected
from tests.support.pairs import self_signed, write_pair


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A self-signed pair for both ends: a PEM file, and the certificate as DER."""
    made = self_signed()
    path = write_pair(tmp_path_factory.mktemp("pair") / "pair.pem", made)
    return path, ssl.PEM_cert_to_DER_cert(made.certificate.decode())


def app_before(guard: Guard, measured: Measured, monitor: Monitor) -> App:
    """The whole API, behind a guard."""
    rules = Rules(CATALOGUE)
    provider = MetricsProvider(
        rules=rules,
        pods=measured,
        measure="ready",
        source=measured,
        min_coverage=0.5,
        windows=Windows(period=1),
        incidents=Incidents(),
        fallback=FallbackChain(
            ["error"],
            last_known_max_age=0,
            simulated=Simulated(),
        ),
        monitor=monitor,
    )
    api = ExternalMetrics(provider, rules, monitor)
    return App(
        admit=guard,
        apis=[api],
        discovery=build_discovery([api.group]),
        openapi=build_openapi([api.group]),
        health=HealthChecks(ready=[HealthCheck("pods-synced", lambda: None)]),
        monitor=monitor,
    )


@pytest.fixture
async def server(
    monitor: Monitor, pair: tuple[Path, bytes], tmp_path: Path
) -> AsyncIterator[Server]:
    """A server that asks a Kubernetes API about alice, which at first denies everything."""
    path, certificate = pair
    context = ListeningContext(KeyPair(path.read_bytes(), path.read_bytes()))
    context.use_verifier(bool)
    certified = ssl.create_default_context(cafile=path)
    certified.load_cert_chain(path)
    reviews, callers, measured = Reviews({}), Callers(), Measured()
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubernetesAPI())
        api.aggregate("authorization.k8s.io", "v1", reviews.subject_access_review)
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", api.url)
        client = await stack.enter_async_context(connected(kubeconfig))
        guard = Guard(callers, Authorizer(client, timeout=0.8), monitor)
        served = ApiServer(app_before(guard, measured, monitor))
        host, port = await stack.enter_async_context(listening(served, "127.0.0.1", 0, context))
        yield Server(
            url=f"https://{host}:{port}",
            api=api,
            reviews=reviews,
            callers=callers,
            measured=measured,
            trust=ssl.create_default_context(cafile=path),
            certified=certified,
            certificate=certificate,
        )
