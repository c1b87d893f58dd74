"""The composition root: the order in which the server starts, and how it ends."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry

from metrics_server.api.app import ApiServer, App
from metrics_server.api.custom_metrics import CustomMetrics
from metrics_server.api.discovery import build_discovery
from metrics_server.api.external_metrics import ExternalMetrics
from metrics_server.api.health import HealthCheck, HealthChecks
from metrics_server.api.openapi import build_openapi
from metrics_server.api.requests import MetricsApi
from metrics_server.auth.delegation import ConfigMap
from metrics_server.common.tasks import background
from metrics_server.config.pod_pages import check_pod_pages
from metrics_server.config.rules import rules_in_force
from metrics_server.config.sections import Config
from metrics_server.http.listener import listening
from metrics_server.kube.autoscalers import Autoscaler
from metrics_server.kube.client import KubernetesClient, connect
from metrics_server.kube.reflector import Reflector
from metrics_server.kube.workloads import Workloads
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.rules.lookup import Rules
from metrics_server.telemetry import logs
from metrics_server.telemetry.metrics import Monitor
from metrics_server.wiring.advising import advising
from metrics_server.wiring.metrics import Watch, check_exporters, providing
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.security import certificates, trust

log = structlog.stdlib.get_logger(__name__)


class RunningServer(Struct, frozen=True):
    """A running server.

    Attributes:
        url: where it listens, with the port in use.
        bundle: the authority to verify it with, PEM, if its certificate was made for this run.
        stopping: set it when the server is about to stop; readiness fails from then on.
        synced: for each watched resource, set once it is known.
    """

    url: str
    bundle: bytes | None
    stopping: asyncio.Event
    synced: Mapping[str, asyncio.Event]


async def serve(options: ServeOptions, config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then shut down gracefully.

    Readiness fails first, so that no new requests are sent here. After the shutdown delay, no
    connections are accepted, and requests under way are finished. A second signal ends the delay.

    Raises:
        ConfigurationError: a setting cannot be used.
        KubernetesError: the Kubernetes API cannot be reached at the start.
    """
    signalled, hurried = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurried if signalled.is_set() else signalled).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with running(options, config) as server:
        await signalled.wait()
        server.stopping.set()
        log.info("stopping", delay=options.shutdown_delay)
        with suppress(TimeoutError):
            async with asyncio.timeout(options.shutdown_delay):
                await hurried.wait()
    log.info("stopped")


@asynccontextmanager
async def running(options: ServeOptions, config: Config) -> AsyncIterator[RunningServer]:
    """Run a server while the context lasts.

    Raises:
        ConfigurationError: a setting cannot be used.
        KubernetesError: the Kubernetes API cannot be reached.
    """
    check_exporters(config.exporters, options.exporters, are_needed=config.prometheus.use != "only")
    monitor = Monitor(CollectorRegistry())
    monitor.follow_log(logs.dropped)
    rules = rules_in_force(config.rules, gauges=config.gauges, prometheus=config.prometheus.use)
    incidents = Incidents()
    check_pod_pages(config.pod_pages, rules)
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        client = await connect(options.kubeconfig)
        stack.push_async_callback(client.close)
        served = await certificates(options, config, client, monitor)
        trusted = await trust(options, client, served.tls, monitor)
        provider, pods, measured = await stack.enter_async_context(
            providing(
                client, config, options.exporters, rules, incidents=incidents, monitor=monitor
            )
        )
        watches: dict[str, Watched] = {**measured}
        if trusted.watch is not None:
            watches["trust"] = trusted.watch
        kept_up = {f"watch-{name}": watch.run for name, watch in watches.items()}
        if served.run is not None:
            kept_up["follow-certificate"] = served.run
        if trusted.run is not None:
            kept_up["follow-trust-files"] = trusted.run
        tasks = [await stack.enter_async_context(background(*one)) for one in kept_up.items()]
        advised: Mapping[str, Watched] = {}
        if config.hpa_warnings:
            advice = advising(
                client,
                config,
                rules,
                pods=pods,
                pod_watches=measured.values(),
                incidents=incidents,
                monitor=monitor,
            )
            advised = advice.watches
            optional = {f"watch-{name}": watch.run for name, watch in advised.items()}
            for one in {**optional, **advice.runs}.items():
                await stack.enter_async_context(background(*one))
        monitor.follow_watches(
            {name: _restarts(watch) for name, watch in {**watches, **advised}.items()}
        )
        apis = _apis(config, client, provider, rules, monitor)
        app = App(
            admit=trusted.guard,
            apis=apis,
            discovery=build_discovery([api.group for api in apis]),
            openapi=build_openapi([api.group for api in apis]),
            health=HealthChecks(
                live=[_runs(task) for task in tasks],
                ready=[
                    *(_synced(name, watch) for name, watch in watches.items()),
                    *(_current(name, watch) for name, watch in measured.items()),
                    HealthCheck("certificate", served.check),
                    *_published(served.bundle_error),
                    HealthCheck("shutdown", lambda: "begun" if stopping.is_set() else None),
                ],
            ),
            monitor=monitor,
        )

        api = ApiServer(app, monitor=monitor, stopping=stopping)
        host, port = await stack.enter_async_context(
            listening(api, options.bind_address, options.secure_port, served.tls)
        )
        url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        log.info("serving", url=url, kubernetes=client.host)
        yield RunningServer(
            url, served.bundle, stopping, {name: watch.synced for name, watch in watches.items()}
        )


def _apis(
    config: Config,
    client: KubernetesClient,
    provider: MetricsProvider,
    rules: Rules,
    monitor: Monitor,
) -> list[MetricsApi]:
    """The APIs that the configuration turns on."""
    apis: list[MetricsApi] = []
    if config.external_metrics:
        apis.append(ExternalMetrics(provider, rules, monitor))
    if config.custom_metrics:
        apis.append(CustomMetrics(provider, Workloads(client), rules, monitor))
    return apis


Watched = Watch | Reflector[ConfigMap] | Reflector[Autoscaler]


def _runs(task: asyncio.Task[None]) -> HealthCheck:
    return HealthCheck(
        task.get_name(), lambda: "the task has ended; see the log" if task.done() else None
    )


def _published(bundle_error: Callable[[], str | None] | None) -> list[HealthCheck]:
    # Clients that do not have the bundle do not get it from another replica either.
    return [] if bundle_error is None else [HealthCheck("ca-bundle", bundle_error, is_fatal=False)]


def _synced(name: str, watch: Watched) -> HealthCheck:
    return HealthCheck(
        f"{name}-synced",
        lambda: None if watch.synced.is_set() else watch.last_error or "not yet listed",
    )


def _current(name: str, watch: Watch) -> HealthCheck:
    def check() -> str | None:
        if not watch.synced.is_set() or not watch.is_stale:
            return None
        why = watch.last_error or "its watch is open but silent"
        return f"no news from the Kubernetes API for {watch.silence:.0f} s: {why}"

    return HealthCheck(f"{name}-current", check)


def _restarts(watch: Watched) -> Callable[[], int]:
    return lambda: watch.restarts + watch.relists
