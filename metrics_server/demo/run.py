"""The demo: the real server in a simulated cluster, and an HPA that asks it."""

import asyncio
import base64
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Literal

import yaml
from msgspec import Struct

from metrics_server.api.types import GROUP, VERSION
from metrics_server.config import Config, FallbackConfig, ServeOptions
from metrics_server.demo import manifests
from metrics_server.demo.autoscaler import HorizontalPodAutoscaler
from metrics_server.demo.cluster import GPUS_PER_NODE, Cluster
from metrics_server.demo.controller import Controller, Sync, metric_path
from metrics_server.demo.exporters import Fault
from metrics_server.demo.front_proxy import FrontProxy
from metrics_server.demo.kubernetes_api import KubernetesAPI
from metrics_server.demo.screen import Moment, screen
from metrics_server.demo.workload import Load
from metrics_server.errors import ConfigurationError
from metrics_server.server import running
from metrics_server.serving.authority import Authority
from metrics_server.serving.certificates import context_from_pair

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

# Everything is quicker than in a real cluster, where an HPA asks each 15 s, scales down after
# 300 s, and a last-known value serves for 60 s: a person is watching.
_SYNC_SECONDS = 1.0
_STABILIZATION_SECONDS = 8.0
_LOADING_SECONDS = 2.0
_DELETING_SECONDS = 1.0
_LAST_KNOWN = "4s"
_PERIOD_SECONDS = 30.0
_TARGET_PERCENT = 70
# The fault lasts from one third of the duration to two thirds; without a duration, so long:
_OPEN_ENDED_SECONDS = 60.0


class DemoOptions(Struct, frozen=True):
    """The flags of `demo`.

    Attributes:
        duration: seconds until it ends by itself; None lets it run until it is interrupted.
        nodes: simulated nodes, each with GPUS_PER_NODE GPUs.
        port: of the server; 0 takes any free one.
        fault: what goes wrong with every exporter in the middle of it.
    """

    duration: float | None = None
    nodes: int = 3
    port: int = 0
    fault: FaultName | None = None


async def demo(options: DemoOptions) -> None:
    """Run the loop until its duration is over, and show it on the standard output.

    Raises:
        ConfigurationError: the port is not to be had.
    """
    async with AsyncExitStack() as stack:
        authority = Authority("demo-kubernetes")
        context = await asyncio.to_thread(context_from_pair, authority.issue(["127.0.0.1"]))
        api = await stack.enter_async_context(KubernetesAPI(ssl_context=context))
        kubeconfig = await stack.enter_async_context(_kubeconfig(api.url, authority.bundle))
        cluster = await stack.enter_async_context(
            Cluster(
                api,
                nodes=options.nodes,
                load=_load(options.nodes * GPUS_PER_NODE),
                loading_seconds=_LOADING_SECONDS,
                deleting_seconds=_DELETING_SECONDS,
            )
        )
        cluster.scale(cluster.capacity // 2, ready=True)
        fallback = FallbackConfig.model_validate({"lastKnownMaxAge": _LAST_KNOWN})
        server = await stack.enter_async_context(
            running(
                ServeOptions(kubeconfig=kubeconfig, secure_port=options.port),
                Config(fallback=fallback),
            )
        )
        if server.bundle is None:
            raise ConfigurationError("the demo's server must make its own certificate")
        proxy = await stack.enter_async_context(FrontProxy(server.url, server.bundle))
        api.aggregate(GROUP, VERSION, proxy)
        hpa = HorizontalPodAutoscaler(
            namespace=manifests.NAMESPACE,
            metric="gpu_utilization",
            selector=f"app={manifests.APP}",
            target_type="Value",
            target=_TARGET_PERCENT * 1000,
            max_replicas=cluster.capacity,
            stabilization_window=_STABILIZATION_SECONDS,
        )
        controller = await stack.enter_async_context(
            Controller(hpa, cluster, api, authority.bundle, time.monotonic)
        )
        for synced in server.synced.values():
            await synced.wait()
        _say(_introduction(options, server.url, kubeconfig, hpa))
        _say(_summary(await _watch(options, cluster, controller)))


async def _watch(options: DemoOptions, cluster: Cluster, controller: Controller) -> list[Sync]:
    """Sync at each interval, and show it; a fault comes and goes."""
    began = time.monotonic()
    whole = options.duration or _OPEN_ENDED_SECONDS
    fault = _FAULTS[options.fault] if options.fault else None
    faulty = False
    syncs: list[Sync] = []
    with screen() as show, suppress(asyncio.CancelledError):
        while True:
            elapsed = time.monotonic() - began
            if options.duration is not None and elapsed >= options.duration:
                break
            if fault and faulty != (whole / 3 <= elapsed < whole * 2 / 3):
                faulty = not faulty
                await cluster.set_fault(fault if faulty else None)
            cluster.step()
            demand = cluster.demand
            sync = await controller.sync()
            syncs.append(sync)
            show(_moment(elapsed, demand, sync, cluster))
            await asyncio.sleep(_SYNC_SECONDS)
    return syncs


def _moment(elapsed: float, demand: float, sync: Sync, cluster: Cluster) -> Moment:
    return Moment(
        seconds=elapsed,
        demand=demand,
        utilization=None if sync.value is None else sync.value / 1000,
        target=_TARGET_PERCENT,
        ready=cluster.ready_pods,
        replicas=len(cluster.pods),
        source=sync.source,
        reason=sync.decision.reason,
    )


def _load(gpus: int) -> Load:
    """A demand that swings between a tenth and a half of what all GPUs could serve."""
    return Load(base=gpus * 30, amplitude=gpus * 20, period=_PERIOD_SECONDS)


def _introduction(
    options: DemoOptions, url: str, kubeconfig: Path, hpa: HorizontalPodAutoscaler
) -> str:
    gpus = options.nodes * GPUS_PER_NODE
    fault = f"\nIn the middle of it, every exporter has a fault: {options.fault}." * bool(
        options.fault
    )
    return f"""\
gpu-metrics-server is serving at {url}: the real server, over real TLS.
Simulated: a Kubernetes API, {options.nodes} nodes with {gpus} GPUs and their DCGM exporters, a
Deployment under a moving load, and an HPA with the target {_TARGET_PERCENT} that asks each \
{_SYNC_SECONDS:g} s (a real one: 15 s).{fault}
Meanwhile, from another terminal:

  kubectl --kubeconfig {kubeconfig} get --raw '{metric_path(hpa)}'
  kubectl --kubeconfig {kubeconfig} get gpu_utilization.{GROUP} -n {hpa.namespace}
  kubectl --kubeconfig {kubeconfig} get pods --watch
"""


def _summary(syncs: list[Sync]) -> str:
    sources = Counter(sync.source for sync in syncs)
    replicas = [sync.decision.replicas for sync in syncs] or [0]
    scalings = sum(a != b for a, b in pairwise(replicas))
    told = ", ".join(f"{count} from {source}" for source, count in sources.most_common())
    return (
        f"\n{len(syncs)} questions were answered: {told or 'none'}. The HPA scaled {scalings} "
        f"times, between {min(replicas)} and {max(replicas)} replicas."
    )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the demo talks to a person


@asynccontextmanager
async def _kubeconfig(url: str, bundle: bytes) -> AsyncIterator[Path]:
    """A kubeconfig file for the simulated API, for as long as the context."""
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="gpu-metrics-demo-")
    path = Path(folder.name, "kubeconfig")
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "demo",
                "cluster": {
                    "server": url,
                    "certificate-authority-data": base64.b64encode(bundle).decode(),
                },
            }
        ],
        "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo"}}],
        # kubectl asks a person for a name and a password where it has no credential at all.
        "users": [{"name": "demo", "user": {"token": "demo"}}],
        "current-context": "demo",
    }
    await asyncio.to_thread(path.write_text, yaml.safe_dump(document), encoding="utf-8")
    try:
        yield path
    finally:
        await asyncio.to_thread(folder.cleanup)
