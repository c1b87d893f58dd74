"""A thousand HPAs at once: until the last of them is answered, five at a time.

The HPA controller does this after its start. Each kind of question has its own cluster: External
metrics and Pods metrics over exporters, the pods' own pages, and a Prometheus.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from ipaddress import IPv4Address
from pathlib import Path
from time import perf_counter

from msgspec import Struct

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS, Object
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.simulator.manifests import endpoint_slice
from tests.bench import Figure, Serve, process, prometheus, uvloop_runner
from tests.bench.asking import ask_all
from tests.bench.pages import Pages
from tests.bench.scale import SIZES, cluster_of, cpu_seconds
from tests.bench.serving import front_proxy_certificate, started
from tests.support.exporters import PageExporter, page
from tests.support.objects import pod

_ROUNDS = 3
_MOST_SECONDS = 5
_METRICS = ("gpu_utilization", "gpu_memory_utilization", "gpu_temperature")
_PAGE = Path(__file__).parents[1] / "data" / "engines" / "vllm-v1-dp2.prom"
_FIRST_POD = IPv4Address("127.64.0.1")
_NAMESPACES = 50
_PODS_OF_ENGINE = 4
_SCRAPE_SECONDS = 15
# Thousands of exporters share the server's processors here.
_PATIENT = {"timeout": "10s"}


class _Plan(Struct, frozen=True):
    """How much to ask.

    Attributes:
        hpas: how many HPAs.
        cluster: the size of the cluster with exporters.
        rounds: how often all of them ask.
        pause_seconds: before each round; to measure, longer than a page is reused.
    """

    hpas: int
    cluster: str
    rounds: int
    pause_seconds: float


_FULL = _Plan(hpas=1000, cluster="workloads", rounds=_ROUNDS, pause_seconds=3)
_REDUCED = _Plan(hpas=18, cluster="flat-20", rounds=1, pause_seconds=0)


def run(*, reduced: bool = False) -> list[Figure]:
    """Measure each kind of question."""
    plan = _REDUCED if reduced else _FULL
    with uvloop_runner() as runner:
        return runner.run(_measure(plan))


async def _measure(plan: _Plan) -> list[Figure]:
    size = SIZES[plan.cluster]
    workloads = [(f"namespace-{app % size.namespaces}", f"app-{app}") for app in range(size.hpas)]
    asked = [(metric, *workload) for metric in _METRICS for workload in workloads][: plan.hpas]
    external = [
        f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}"
        f"?labelSelector=app%3D{app}"
        for metric, namespace, app in asked
    ]
    pods = [
        f"/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/pods/%2A/{metric}"
        f"?labelSelector=app%3D{app}"
        for metric, namespace, app in asked
    ]
    each = size.nodes * 8 // size.hpas
    figures: list[Figure] = []
    async with process(cluster_of, plan.cluster) as (api, certificate):
        for kind, paths in (("External", external), ("Pods", pods)):
            of = f"{kind} metrics of {each} pods each, over {size.nodes:,} exporters"
            figures += await _sync(plan, of, paths, certificate, _exporters, api)
    async with process(_engines, str(plan.hpas)) as (api, certificate):
        queue = [
            f"/apis/external.metrics.k8s.io/v1beta1/namespaces/namespace-{hpa % _NAMESPACES}"
            f"/llm_requests_waiting?labelSelector=app%3Dapp-{hpa}"
            for hpa in range(plan.hpas)
        ]
        of = f"metrics of {_PODS_OF_ENGINE} pods each, from these pods' own pages"
        figures += await _sync(plan, of, queue, certificate, _pages, api)
    if shutil.which("prometheus") or "PROMETHEUS" in os.environ:
        arguments = str(_SCRAPE_SECONDS if plan is _FULL else 1), str(plan.hpas)
        async with process(prometheus.cluster_of, *arguments) as (api, certificate, url):
            paths = [prometheus.path_of(hpa) for hpa in range(plan.hpas)]
            of = "metrics of 4 pods each, from a Prometheus"
            figures += await _sync(plan, of, paths, certificate, _beside_prometheus, api, url)
    return figures


async def _sync(
    plan: _Plan, of: str, paths: Sequence[str], certificate: str, server: Serve, *arguments: str
) -> list[Figure]:
    """Ask for all of them at once, a few times; the longest time counts."""
    longest = spent = 0.0
    async with process(server, *arguments) as (url, pid):
        await ask_all(paths, url, certificate)  # to connect
        for _ in range(plan.rounds):
            await asyncio.sleep(plan.pause_seconds)
            before, began = cpu_seconds(pid), perf_counter()
            await ask_all(paths, url, certificate)
            longest = max(longest, perf_counter() - began)
            spent += cpu_seconds(pid) - before
    name = f"{plan.hpas:,} HPAs at once, {of}"
    return [
        Figure(f"until all are answered, {name}", longest, "s", at_most=_MOST_SECONDS),
        Figure(
            f"processor time of an answer, {name}", spent / plan.rounds / len(paths) * 1000, "ms"
        ),
    ]


async def _exporters(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """A server in a cluster with exporters: its URL and its process."""
    config = {"exporters": _PATIENT, "fallback": {"chain": ["error"], "minCoverage": 1.0}}
    return [(await started(stack, arguments[0], config)).url, str(os.getpid())]


async def _pages(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """A server that reads pods' own pages on loopback."""
    config = {
        "exporters": _PATIENT,
        "podPages": {"networks": ["127.0.0.0/8"]},
        "fallback": {"chain": ["error"], "minCoverage": 1.0},
    }
    return [(await started(stack, arguments[0], config)).url, str(os.getpid())]


async def _beside_prometheus(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """A server that reads only a Prometheus."""
    return [*await prometheus.server_of(stack, *arguments), str(os.getpid())]


async def _engines(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """A Kubernetes API, its front proxy's certificate, and the inference engines of all HPAs."""
    api = await stack.enter_async_context(KubernetesAPI())
    certificate = await front_proxy_certificate(stack, SimulatedTrust(api))
    exporter = await stack.enter_async_context(PageExporter(page({("default", "a"): [50]})))
    api.apply(ENDPOINT_SLICES, endpoint_slice("gpu-0", exporter.port))
    body = await asyncio.to_thread(_PAGE.read_bytes)

    pages = Pages(stack, lambda _: body)
    port = 0
    for number in range(int(arguments[0]) * _PODS_OF_ENGINE):
        address = str(_FIRST_POD + number)
        port = await pages.listen(address, port)
        api.apply(PODS, _engine(number // _PODS_OF_ENGINE, number, address, port))
    return [api.url, str(certificate)]


def _engine(hpa: int, number: int, address: str, port: int) -> Object:
    """A pod that serves its page at this address."""
    namespace = f"namespace-{hpa % _NAMESPACES}"
    made = pod(f"engine-{number}", namespace=namespace, labels={"app": f"app-{hpa}"})
    assert isinstance(made["metadata"], dict)
    assert isinstance(made["status"], dict)
    made["metadata"]["annotations"] = {"prometheus.io/port": str(port)}
    made["status"]["podIP"] = address
    return made
