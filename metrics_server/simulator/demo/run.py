"""The demo: the real server in a simulated cluster, and an HPA that uses it."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from math import inf

from metrics_server.api.types import CUSTOM_GROUP, CUSTOM_VERSIONS, GROUP, VERSION
from metrics_server.config.options import ServeOptions
from metrics_server.config.sections import Config
from metrics_server.errors import ConfigurationError
from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.hpa import (
    ExternalMetric,
    HorizontalPodAutoscaler,
    PodsMetric,
)
from metrics_server.simulator.cluster import GPUS_PER_NODE, Cluster
from metrics_server.simulator.controller import Controller, Sync
from metrics_server.simulator.demo.options import (
    TARGET_PERCENT,
    DemoOptions,
    FaultName,
    MetricType,
    Tempo,
    fault_times,
)
from metrics_server.simulator.demo.screen import Moment, screen
from metrics_server.simulator.demo.text import introduction, summary
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.front_proxy import FrontProxy
from metrics_server.simulator.kube.kubeconfig import kubeconfig_of
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from metrics_server.wiring.server import running

_FAULTS: dict[FaultName, Fault] = {
    "exporter-down": Fault("down"),
    "exporter-slow": Fault("slow"),
    "exporter-error": Fault("error"),
    "exporter-garbage": Fault("garbage"),
    "no-pod-labels": Fault("unlabelled"),
    "one-exporter-down": Fault("down"),
}

_TEMPO = Tempo()


async def demo(options: DemoOptions, tempo: Tempo = _TEMPO) -> None:
    """Run the loop for its duration, and show it on standard output.

    SIGINT and SIGTERM end it early, but just as cleanly.

    Args:
        options: the flags.
        tempo: the durations.

    Raises:
        ConfigurationError: the port is not available.
    """
    async with AsyncExitStack() as stack:
        interrupted = stack.enter_context(_interruption())
        authority = Authority("demo-kubernetes")
        context = await asyncio.to_thread(context_from_pair, authority.issue(["127.0.0.1"]))
        api = await stack.enter_async_context(KubernetesAPI(ssl_context=context))
        trust = SimulatedTrust(api)
        kubeconfig = await stack.enter_async_context(kubeconfig_of(api.url, authority.bundle))
        cluster = await stack.enter_async_context(
            Cluster(
                api,
                nodes=options.nodes,
                load=_load(options.nodes * GPUS_PER_NODE, tempo.period),
                loading_seconds=tempo.loading,
                deleting_seconds=tempo.deleting,
            )
        )
        cluster.scale(cluster.capacity // 2, ready=True)
        flags = ServeOptions(kubeconfig=kubeconfig, secure_port=options.port)
        server = await stack.enter_async_context(running(flags, _config(tempo)))
        if server.bundle is None:
            raise ConfigurationError("the demo's server must create its own certificate")
        proxy = await stack.enter_async_context(
            FrontProxy(server.url, server.bundle, trust.front_proxy())
        )
        api.aggregate(GROUP, VERSION, proxy)
        for version in CUSTOM_VERSIONS:
            api.aggregate(CUSTOM_GROUP, version, proxy)
        hpa = HorizontalPodAutoscaler(
            namespace=manifests.NAMESPACE,
            metrics=(_metric(options.metric_type),),
            max_replicas=cluster.capacity,
            stabilization_window=tempo.stabilization,
        )
        controller = await stack.enter_async_context(
            Controller(hpa, cluster, api, authority.bundle, time.monotonic)
        )
        for synced in server.synced.values():
            await synced.wait()
        _print(introduction(options, tempo, server.url, kubeconfig, hpa))
        syncs = await _watch(options, tempo, cluster, controller, interrupted)
        _print(summary(syncs))


def _metric(kind: MetricType) -> ExternalMetric | PodsMetric:
    name, target = "gpu_utilization", TARGET_PERCENT * 1000
    if kind == "pods":
        return PodsMetric(name, target)
    return ExternalMetric(name, manifests.SELECTOR, "Value", target)


@contextmanager
def _interruption() -> Iterator[asyncio.Event]:
    """Return an event that SIGINT and SIGTERM set, instead of their usual effect."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, interrupted.set)
    try:
        yield interrupted
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _config(tempo: Tempo) -> Config:
    return Config.model_validate(
        {
            "exporters": {"timeout": f"{tempo.timeout}s", "maxAge": f"{tempo.max_age}s"},
            "fallback": {"lastKnownMaxAge": f"{tempo.last_known}s"},
        }
    )


async def _watch(
    options: DemoOptions,
    tempo: Tempo,
    cluster: Cluster,
    controller: Controller,
    interrupted: asyncio.Event,
) -> list[Sync]:
    """Sync at each interval, show the result, and set and remove the fault, until the end."""
    began = time.monotonic()
    fault_begins, fault_ends = fault_times(options, tempo)
    faulty = False
    syncs: list[Sync] = []
    with screen() as show:
        while not interrupted.is_set():
            elapsed = time.monotonic() - began
            left = inf if options.duration is None else options.duration - elapsed
            if left <= 0:
                break
            if options.fault and faulty != (fault_begins <= elapsed < fault_ends):
                faulty = not faulty
                fault = _FAULTS[options.fault] if faulty else None
                await cluster.set_fault(fault, exporters=1 if options.one_exporter else None)
            cluster.step()
            demand = cluster.demand
            sync = await controller.sync()
            syncs.append(sync)
            show(_moment(elapsed, demand, sync, cluster))
            with suppress(TimeoutError):
                async with asyncio.timeout(min(tempo.sync, left)):
                    await interrupted.wait()
    return syncs


def _moment(elapsed: float, demand: float, sync: Sync, cluster: Cluster) -> Moment:
    (current,), (reading,) = sync.decision.current, sync.readings
    return Moment(
        seconds=elapsed,
        demand=demand,
        utilization=None if current is None else current / 1000,
        target=TARGET_PERCENT,
        ready=cluster.ready_pods,
        replicas=cluster.replicas,
        source=reading.source,
        pods=reading.pods,
        reason=sync.decision.reason,
    )


def _load(gpus: int, period: float) -> Load:
    """Return a demand that swings between a tenth and a half of the capacity of all GPUs."""
    return Load(base=gpus * 30, amplitude=gpus * 20, period=period)


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the demo's output
