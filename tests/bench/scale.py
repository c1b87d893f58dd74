"""A whole cluster: its HPAs ask every 15 s, and the server's time and memory are measured.

The HPA controller asks for all HPAs at once after its start, and then for each one 15 s after
finishing with it. On demand, the first is repeated; ahead, the second is what counts.

The cluster, the server and the HPA controller each have a process. The exporters have their own
addresses on loopback, and pages as long as real ones; pods come and go. Needs Linux's /proc.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from ipaddress import IPv4Address
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from time import perf_counter

from msgspec import Struct, structs

from metrics_server.simulator import manifests
from metrics_server.simulator.gpus.exporters import (
    Observation,
    SimulatedNode,
    render_page,
    simulated_node,
)
from metrics_server.simulator.gpus.workload import A100, Load, SimulatedPod, gpu_states
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS, Json, Object, metadata
from metrics_server.simulator.kube.trust import SimulatedTrust
from tests.bench import Figure, process, uvloop_runner
from tests.bench.asking import at_once, one_by_one
from tests.bench.pages import Pages
from tests.bench.serving import front_proxy_certificate, started

GPUS_PER_NODE = 8

# kube-controller-manager's --horizontal-pod-autoscaler-sync-period.
PERIOD_SECONDS = 15
PERIODS = 3
# To learn an HPA's period from.
PERIODS_BEFORE = 5

PODS_CHANGED_PER_SECOND = 100
# As large as a typical Pod with its managed fields and its volumes.
_POD_PADDING = "x" * 3500
_ENDPOINTS_PER_SLICE = 100
_FIRST_ADDRESS = IPv4Address("127.1.0.1")


class Size(Struct, frozen=True):
    """The size of a cluster.

    Attributes:
        nodes: how many nodes, with a pod on each of their GPUs.
        other_pods: how many pods without a GPU.
        hpas: how many HPAs. The pods of each are spread over as many nodes as possible.
        namespaces: how many, with as many pods and HPAs in each.
    """

    nodes: int
    other_pods: int
    hpas: int
    namespaces: int

    @property
    def pods(self) -> int:
        """The number of pods, with and without a GPU."""
        return self.nodes * GPUS_PER_NODE + self.other_pods


SIZES = {
    "tiny": Size(nodes=10, other_pods=100, hpas=6, namespaces=3),
    "small": Size(nodes=100, other_pods=2_200, hpas=30, namespaces=10),
    "large": Size(nodes=5_000, other_pods=110_000, hpas=300, namespaces=50),
    # Workloads of a hundred pods each.
    "workloads": Size(nodes=5_000, other_pods=10_000, hpas=400, namespaces=50),
    # The same questions, in clusters that differ in everything else.
    **{
        f"flat-{nodes}": Size(
            nodes, other_pods=22 * nodes, hpas=3 * nodes // 10, namespaces=nodes // 10
        )
        for nodes in (20, 100, 1_000, 5_000)
    },
}
ONE_WORKLOAD = Size(nodes=125, other_pods=100, hpas=1, namespaces=1)
"""A thousand pods, all of one HPA."""


def run(*, reduced: bool = False) -> list[Figure]:
    """Measure each size, with and without reading ahead."""
    with uvloop_runner() as runner:
        if reduced:
            return runner.run(_measure("tiny", "ahead", before=0, periods=1, period_seconds=1))
        return [
            figure
            for name in ("small", "large")
            for manner in ("ahead", "on demand")
            for figure in runner.run(_measure(name, manner))
        ]


async def _measure(
    name: str,
    manner: str,
    *,
    before: int = PERIODS_BEFORE,
    periods: int = PERIODS,
    period_seconds: float = PERIOD_SECONDS,
) -> list[Figure]:
    size = SIZES[name]
    paths = [path_of(size, hpa) for hpa in range(size.hpas)]
    ask = at_once if manner == "on demand" else one_by_one
    async with (
        process(cluster_of, name) as (api, certificate),
        process(server_of, api, manner) as (url, pid, synced_after, above),
    ):
        begin = perf_counter() + before * period_seconds
        asking = asyncio.create_task(ask(paths, url, certificate, period_seconds, before + periods))
        await asyncio.sleep(before * period_seconds)
        spent = cpu_seconds(pid)
        await asyncio.sleep(periods * period_seconds)
        cores = (cpu_seconds(pid) - spent) / (periods * period_seconds)
        seconds = [took for asked, took in await asking if asked >= begin]
        peak = peak_mib(pid)
    scraped = (
        f"with {size.nodes:,} GPU nodes, {size.pods:,} pods, {size.hpas} HPAs, scraped {manner}"
    )
    p99 = quantiles(seconds, n=100)[-1] * 1000
    return [
        Figure(f"p99 of answers {scraped}", p99, "ms", at_most=50 if manner == "ahead" else 150),
        Figure(f"peak memory {scraped}", peak, "MiB", at_most=400),
        Figure(f"processor time {scraped}", cores, "cores", at_most=0.25),
        Figure(f"until all pods are known, {scraped}", float(synced_after), "s", at_most=6),
        Figure(f"peak of memory until then, {scraped}", float(above), "% above", at_most=20),
    ]


def path_of(size: Size, hpa: int) -> str:
    """The request for the External metric of an HPA."""
    return (
        f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{_namespace(size, hpa)}/gpu_utilization"
        f"?labelSelector=app%3Dapp-{hpa}"
    )


def _namespace(size: Size, number: int) -> str:
    return f"namespace-{number % size.namespaces}"


def cpu_seconds(pid: str) -> float:
    """The processor time of a process so far, by proc_pid_stat(5): utime and stime."""
    fields = Path("/proc", pid, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: str) -> float:
    """A process's peak resident memory, in MiB."""
    return memory_mib(pid, "VmHWM")


def memory_mib(pid: str, field: str) -> float:
    """A size that proc_pid_status(5) lists for a process, in MiB."""
    status = Path("/proc", pid, "status").read_text(encoding="utf-8")
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


async def cluster_of(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """The Kubernetes API of a cluster, and its exporters.

    Args:
        stack: what ends them.
        arguments: the name of its size, and the seconds until an exporter answers, if not at
            once.
    """
    size = SIZES.get(arguments[0], ONE_WORKLOAD)
    delay = float(arguments[1]) if arguments[1:] else 0.0
    api = await stack.enter_async_context(KubernetesAPI())
    certificate = await front_proxy_certificate(stack, SimulatedTrust(api))
    pages: dict[str, bytes] = {}
    endpoints: list[Json] = []
    for number in range(size.nodes):
        node = simulated_node(f"node-{number}", A100, GPUS_PER_NODE)
        pods = _pods(size, node, number)
        for hpa, pod in pods.items():
            api.apply(PODS, _manifest(pod, f"app-{hpa}"))
        address = str(_FIRST_ADDRESS + number)
        pages[address] = _page(node, [*pods.values()])
        endpoints.append({"addresses": [address], "nodeName": node.name})
    others = [
        SimulatedPod(
            _namespace(size, n), f"web-{n}", "main", f"node-{n % size.nodes}", (), ready=True
        )
        for n in range(size.other_pods)
    ]
    for pod in others:
        api.apply(PODS, _manifest(pod, "web"))
    serving = Pages(stack, pages.__getitem__, delay or None)
    port = 0
    for address in pages:
        port = await serving.listen(address, port)
    for start in range(0, size.nodes, _ENDPOINTS_PER_SLICE):
        some = endpoints[start : start + _ENDPOINTS_PER_SLICE]
        api.apply(ENDPOINT_SLICES, manifests.endpoint_slice(f"{start}", port) | {"endpoints": some})
    changes = asyncio.create_task(_change(api, others))
    stack.callback(changes.cancel)
    return [api.url, str(certificate)]


def _pods(size: Size, node: SimulatedNode, number: int) -> dict[int, SimulatedPod]:
    """The pods on a node's GPUs, in turn by the HPA that each belongs to."""
    pods: dict[int, SimulatedPod] = {}
    for place, gpu in enumerate(node.gpus, start=number * GPUS_PER_NODE):
        hpa = place % size.hpas
        name = f"app-{hpa}-{place}"
        pods[hpa] = SimulatedPod(
            _namespace(size, hpa), name, "main", node.name, (gpu.uuid,), ready=True
        )
    return pods


def _manifest(pod: SimulatedPod, app: str) -> Object:
    manifest = manifests.pod(pod, None)
    metadata(manifest)["labels"] = {"app": app, "pod-template-hash": "simulated"}
    return {**manifest, "padding": _POD_PADDING}


def _page(node: SimulatedNode, pods: list[SimulatedPod]) -> bytes:
    """The page of a node's exporter, padded with other families to the length of a real one."""
    load = Load(base=50 * len(pods), amplitude=0, noise=0)
    states = gpu_states(load, node.model, [gpu.uuid for gpu in node.gpus], pods, 0)
    page = render_page(node, "3.x", Observation(states, pods))
    return "".join(page.replace("DCGM_FI", f"DCGM_FI{n or ''}") for n in range(3)).encode()


async def _change(api: KubernetesAPI, pods: Sequence[SimulatedPod]) -> None:
    """Let pods become ready and not ready in turn, until cancelled."""
    for ready in cycle((False, True)) if pods else ():
        for pod in pods:
            api.apply(PODS, _manifest(structs.replace(pod, ready=ready), "web"))
            await asyncio.sleep(1 / PODS_CHANGED_PER_SECOND)


async def server_of(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """The server: its URL, its process, and the cost of reading the cluster.

    That is the seconds, and by how many percent its memory exceeded what it keeps.
    """
    api, *manner = arguments
    began = perf_counter()
    config = {
        # Whatever is not fully measured must fail.
        "fallback": {"chain": ["error"], "minCoverage": 1.0},
        "exporters": {"askAhead": manner == ["ahead"]},
    }
    server = await started(stack, api, config)
    seconds = perf_counter() - began
    above = (peak_mib("self") / memory_mib("self", "VmRSS") - 1) * 100
    return [server.url, str(os.getpid()), str(seconds), str(max(0.0, above))]
