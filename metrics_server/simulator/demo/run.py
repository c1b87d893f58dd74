"""The demo: the real server in a simulated cluster, and an HPA that uses it."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Literal

from msgspec import Struct

from metrics_server.api.types import GROUP, VERSION
from metrics_server.config.options import ServeOptions
from metrics_server.config.sections import Config
from metrics_server.errors import ConfigurationError
from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaler import HorizontalPodAutoscaler
from metrics_server.simulator.cluster import GPUS_PER_NODE, Cluster
from metrics_server.simulator.controller import Controller, Sync, metric_path
from metrics_server.simulator.demo.screen import Moment, screen
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.front_proxy import FrontProxy
from metrics_server.simulator.kube.kubeconfig import kubeconfig_of
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from metrics_server.wiring.server import running

FaultName = Literal[
    "exporter-down", "exporter-slow", "exporter-error", "exporter-garbage", "no-pod-labels"
]
_FAULTS: dict[FaultName, Fault] = {
    "exporter-down": Fault("down"),
    "exporter-slow": Fault("slow"),
    "exporter-error": Fault("error"),
    "exporter-garbage": Fault("garbage"),
    "no-pod-labels": Fault("unlabelled"),
}

_TARGET_PERCENT = 70


class Tempo(Struct, frozen=True, kw_only=True):
    """Durations in seconds, shorter than in a real cluster, as a person is watching.

    Attributes:
        sync: between two requests of the HPA; 15 in a real cluster.
        stabilization: behavior.scaleDown.stabilizationWindowSeconds; 300 by default.
        loading: how long a new pod loads its model.
        deleting: how long a deleted pod is terminating.
        period: of the swings of the demand.
        max_age: exporters.maxAge of the server; 2 by default.
        timeout: exporters.timeout of the server; 2 by default.
        last_known: fallback.lastKnownMaxAge of the server; 60 by default.
        open_ended: the duration that a fault is timed by, if the demo has no duration.
    """

    sync: float = 1
    stabilization: float = 8
    loading: float = 2
    deleting: float = 1
    period: float = 30
    max_age: float = 0.5
    timeout: float = 1
    last_known: float = 4
    open_ended: float = 60


_TEMPO = Tempo()


class DemoOptions(Struct, frozen=True):
    """The flags of `demo`.

    Attributes:
        duration: in seconds; None to run until interrupted.
        nodes: simulated nodes, each with GPUS_PER_NODE GPUs.
        port: of the server; 0 for any free one.
        fault: the fault of every exporter in the middle third of the demo.
    """

    duration: float | None = None
    nodes: int = 3
    port: int = 0
    fault: FaultName | None = None


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
        hpa = HorizontalPodAutoscaler(
            namespace=manifests.NAMESPACE,
            metric="gpu_utilization",
            selector=f"app={manifests.APP}",
            target_type="Value",
            target=_TARGET_PERCENT * 1000,
            max_replicas=cluster.capacity,
            stabilization_window=tempo.stabilization,
        )
        controller = await stack.enter_async_context(
            Controller(hpa, cluster, api, authority.bundle, time.monotonic)
        )
        for synced in server.synced.values():
            await synced.wait()
        _print(_introduction(options, tempo, server.url, kubeconfig, hpa))
        syncs = await _watch(options, tempo, cluster, controller, interrupted)
        _print(_summary(syncs))


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
    fault_begins, fault_ends = _fault_times(options, tempo)
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
                await cluster.set_fault(_FAULTS[options.fault] if faulty else None)
            cluster.step()
            demand = cluster.demand
            sync = await controller.sync()
            syncs.append(sync)
            show(_moment(elapsed, demand, sync, cluster))
            with suppress(TimeoutError):
                async with asyncio.timeout(min(tempo.sync, left)):
                    await interrupted.wait()
    return syncs


def _fault_times(options: DemoOptions, tempo: Tempo) -> tuple[float, float]:
    """Return when the fault begins and ends, in seconds: it lasts for the middle third."""
    whole = tempo.open_ended if options.duration is None else options.duration
    return whole / 3, whole * 2 / 3


def _moment(elapsed: float, demand: float, sync: Sync, cluster: Cluster) -> Moment:
    return Moment(
        seconds=elapsed,
        demand=demand,
        utilization=None if sync.value is None else sync.value / 1000,
        target=_TARGET_PERCENT,
        ready=cluster.ready_pods,
        replicas=cluster.replicas,
        source=sync.source,
        reason=sync.decision.reason,
    )


def _load(gpus: int, period: float) -> Load:
    """Return a demand that swings between a tenth and a half of the capacity of all GPUs."""
    return Load(base=gpus * 30, amplitude=gpus * 20, period=period)


def _introduction(
    options: DemoOptions, tempo: Tempo, url: str, kubeconfig: Path, hpa: HorizontalPodAutoscaler
) -> str:
    gpus = options.nodes * GPUS_PER_NODE
    if options.fault:
        begins, ends = _fault_times(options, tempo)
        fault = (
            f"From {begins:.0f} s to {ends:.0f} s, every exporter has a fault: {options.fault}.\n"
            "The server then falls back to the last known value (last-known), to a simulated one\n"
            "(simulated), or to an error, which leaves the replicas unchanged.\n"
        )
    else:
        fault = ""
    ends_by_itself = f"after {options.duration:g} s or " if options.duration is not None else ""
    return f"""\
gpu-metrics-server is serving at {url}: the real server, over real TLS.
Simulated: a Kubernetes API; {options.nodes} nodes with {gpus} GPUs and their DCGM exporters;
a Deployment under a changing load; an HPA with a target of {_TARGET_PERCENT} %, which requests
the metric every {tempo.sync:g} s (a real one: 15 s).
{fault}The demo ends {ends_by_itself}on Ctrl-C. Meanwhile, try from another terminal:

  kubectl --kubeconfig {kubeconfig} get --raw '{metric_path(hpa)}'
  kubectl --kubeconfig {kubeconfig} get gpu_utilization.{GROUP} -n {hpa.namespace}
  kubectl --kubeconfig {kubeconfig} get pods --watch
"""


def _summary(syncs: list[Sync]) -> str:
    if not syncs:
        return "\nThe demo ended before the HPA's first request."
    sources = Counter(sync.source for sync in syncs)
    replicas = [syncs[0].replicas, *(sync.decision.replicas for sync in syncs)]
    scalings = sum(a != b for a, b in pairwise(replicas))
    answers = ", ".join(f"{count} from {source}" for source, count in sources.most_common())
    return (
        f"\nThe HPA requested the metric {_times(len(syncs))}; answers: {answers}.\n"
        f"It scaled {_times(scalings)}, between {min(replicas)} and {max(replicas)} replicas."
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the demo's output
