"""The composition root: what the server is made of, the order of its start, and its end."""

import asyncio
import random
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address

import structlog
from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry

from metrics_server.api.app import ApiServer, App
from metrics_server.api.discovery import build_discovery
from metrics_server.api.external_metrics import ExternalMetrics
from metrics_server.api.health import HealthCheck, HealthChecks
from metrics_server.api.openapi import build_openapi
from metrics_server.config import (
    Config,
    ExportersConfig,
    FallbackConfig,
    PodsConfig,
    ServeOptions,
)
from metrics_server.errors import ConfigurationError
from metrics_server.exporters.scraper import Scraper
from metrics_server.exporters.source import ExporterSource
from metrics_server.exporters.targets import DiscoveredTargets, StaticTargets, Targets
from metrics_server.fallback import FallbackChain, Simulated
from metrics_server.kube.client import KubernetesClient, connect
from metrics_server.kube.endpoints import (
    EndpointSlice,
    EndpointStore,
    ServiceRef,
    decode_endpoint_slice,
    service_selector,
)
from metrics_server.kube.pods import Pod, PodStore, PodStores, pod_decoder
from metrics_server.kube.reflector import Reflector
from metrics_server.monitoring import Monitor
from metrics_server.provider import ExternalMetricsProvider, Pods
from metrics_server.rules import Rules
from metrics_server.serving.authority import Authority
from metrics_server.serving.certificates import context_from_files, context_from_pair

log = structlog.stdlib.get_logger(__name__)

# kube-apiserver's aggregator keeps an idle connection for 90 s: ours must not be closed first.
_KEEPALIVE_SECONDS = 120
# A selector may have 8192 characters, each of which may be three in a URL.
_MAX_LINE_BYTES = 32 * 1024
# How long requests that are under way at the end may take: more than a scrape does.
_DRAIN_SECONDS = 10


class RunningServer(Struct, frozen=True):
    """A server that listens.

    Attributes:
        url: where, with the port that was really taken.
        bundle: the authority to verify it by, PEM; None where the certificate is the user's own.
        stopping: to be set when it is about to stop: readiness fails from then on.
        synced: for each watched resource, set once it is known.
    """

    url: str
    bundle: bytes | None
    stopping: asyncio.Event
    synced: Mapping[str, asyncio.Event]


async def serve(options: ServeOptions, config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then end in good order.

    Readiness fails first, so that no new request is sent here; after the shutdown delay no
    connection is accepted any more, and what is under way is finished.

    Raises:
        ConfigurationError: a setting cannot be used.
    """
    if not _is_loopback(options.bind_address):
        raise ConfigurationError(
            f"--bind-address {options.bind_address}: callers are not authenticated, so only a "
            "loopback address such as 127.0.0.1 can be served on"
        )
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    async with running(options, config) as server:
        await signalled.wait()
        server.stopping.set()
        log.info("stopping", delay=options.shutdown_delay)
        await asyncio.sleep(options.shutdown_delay)
    log.info("stopped")


@asynccontextmanager
async def running(options: ServeOptions, config: Config) -> AsyncIterator[RunningServer]:
    """A server that runs for as long as the context.

    Raises:
        ConfigurationError: a setting cannot be used.
    """
    monitor = Monitor(CollectorRegistry())
    rules = Rules()
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        client = await connect(options.kubeconfig)
        stack.push_async_callback(client.close)
        pods, watches = _pods(client, config.pods)
        targets, exporter_watches = _targets(client, options, config.exporters)
        watches |= exporter_watches
        tasks = [await stack.enter_async_context(_kept_up(name, watches[name])) for name in watches]
        monitor.follow_watches({name: _restarts(watch) for name, watch in watches.items()})
        scraper = await stack.enter_async_context(
            Scraper(
                timeout=config.exporters.timeout,
                max_age=config.exporters.max_age,
                max_concurrency=config.exporters.max_concurrency,
                monitor=monitor,
            )
        )
        provider = ExternalMetricsProvider(
            rules=rules,
            pods=pods,
            measure=config.pods.measure,
            source=ExporterSource(targets, scraper),
            min_coverage=config.fallback.min_coverage,
            fallback=_fallback(config.fallback),
            monitor=monitor,
        )
        app = App(
            external_metrics=ExternalMetrics(provider, rules.names(), monitor),
            discovery=build_discovery(rules.names()),
            openapi=build_openapi(),
            health=_health(watches, tasks, stopping),
            monitor=monitor,
        )
        context, bundle = await asyncio.to_thread(_tls, options)
        url = await stack.enter_async_context(_listening(app, options, context))
        log.info("serving", url=url, kubernetes=client.host)
        yield RunningServer(url, bundle, stopping, {n: w.synced for n, w in watches.items()})


Watches = dict[str, Reflector[Pod] | Reflector[EndpointSlice]]


def _pods(client: KubernetesClient, config: PodsConfig) -> tuple[Pods, Watches]:
    """The pods that can be selected, and what keeps them in step with the cluster."""
    decode = pod_decoder(config.gpu_resources)
    if not config.namespaces:
        store = PodStore()
        return store, {"pods": Reflector(client, "/api/v1/pods", decode, store)}
    stores = {namespace: PodStore() for namespace in config.namespaces}
    return PodStores(stores), {
        f"pods-{namespace}": Reflector(
            client, f"/api/v1/namespaces/{namespace}/pods", decode, store
        )
        for namespace, store in stores.items()
    }


def _targets(
    client: KubernetesClient, options: ServeOptions, config: ExportersConfig
) -> tuple[Targets, Watches]:
    """Where exporters are, and what keeps that in step with the cluster."""
    urls = (*config.static, *options.exporters)
    if urls:
        return StaticTargets(urls), {}
    services = [ServiceRef(one.namespace, one.name, one.port) for one in config.services]
    endpoints = EndpointStore(services)
    watch = Reflector(
        client,
        "/apis/discovery.k8s.io/v1/endpointslices",
        decode_endpoint_slice,
        endpoints,
        query={"labelSelector": service_selector(services)},
    )
    return DiscoveredTargets(endpoints, config.path), {"endpointslices": watch}


def _fallback(config: FallbackConfig) -> FallbackChain:
    return FallbackChain(
        config.chain,
        last_known_max_age=config.last_known_max_age,
        simulated=Simulated(config.simulated.base, config.simulated.variance),
        clock=time.time,
        random=random.random,
    )


def _health(
    watches: Watches, tasks: Sequence[asyncio.Task[None]], stopping: asyncio.Event
) -> HealthChecks:
    def runs(task: asyncio.Task[None]) -> HealthCheck:
        return HealthCheck(task.get_name(), lambda: "it has ended" if task.done() else None)

    def synced(name: str) -> HealthCheck:
        watch = watches[name]
        return HealthCheck(
            f"{name}-synced",
            lambda: None if watch.synced.is_set() else watch.last_error or "not yet listed",
        )

    return HealthChecks(
        live=[runs(task) for task in tasks],
        ready=[
            *(synced(name) for name in watches),
            HealthCheck(
                "shutdown", lambda: "the server is stopping" if stopping.is_set() else None
            ),
        ],
    )


def _restarts(watch: Reflector[Pod] | Reflector[EndpointSlice]) -> Callable[[], int]:
    return lambda: watch.restarts + watch.relists


def _tls(options: ServeOptions) -> tuple[ssl.SSLContext, bytes | None]:
    """The context to serve with, and the authority to trust if it is one of our own making."""
    certificate, key = options.tls_cert_file, options.tls_private_key_file
    if certificate and key:
        return context_from_files(certificate, key), None
    if certificate or key:
        raise ConfigurationError("--tls-cert-file and --tls-private-key-file go together")
    log.warning(
        "serving with a certificate made for this run, which no client trusts; "
        "give --tls-cert-file and --tls-private-key-file"
    )
    authority = Authority("gpu-metrics-server")
    names = dict.fromkeys(["localhost", "127.0.0.1", "::1", options.bind_address])
    return context_from_pair(authority.issue(list(names))), authority.bundle


@asynccontextmanager
async def _kept_up(
    name: str, watch: Reflector[Pod] | Reflector[EndpointSlice]
) -> AsyncIterator[asyncio.Task[None]]:
    """The task that keeps a store in step, until the context ends."""
    task = asyncio.create_task(watch.run(), name=f"watch-{name}")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def _listening(
    app: App, options: ServeOptions, context: ssl.SSLContext
) -> AsyncIterator[str]:
    """The URL that an app is served at, until the context ends."""
    server = ApiServer(
        app,
        access_log=None,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_LINE_BYTES,
    )
    runner = web.ServerRunner(server, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.bind_address, options.secure_port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(
                f"--bind-address {options.bind_address} --secure-port {options.secure_port} "
                f"cannot be listened on: {error.strerror or error}"
            ) from error
        port = runner.addresses[0][1]
        host = options.bind_address
        yield f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    finally:
        await runner.cleanup()


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
