"""The simulated cluster: its Deployment's behavior, and the objects that it publishes."""

from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from metrics_server.kube.endpoints import EndpointStore, ServiceRef, decode_endpoint_slice
from metrics_server.kube.pods import Pod, pod_decoder
from metrics_server.measuring.samples import Collection
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.hpa import ScaledPod
from metrics_server.simulator.cluster import GPUS_PER_NODE, Cluster
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    NODES,
    PODS,
    Resource,
)
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.exporters.targets import DiscoveredTargets, Way
from metrics_server.sources.pages.access import AccessKeeper
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor
from tests.support.clock import Clock

NODE_COUNT = 2
CAPACITY = NODE_COUNT * GPUS_PER_NODE
LOADING, DELETING = 30.0, 10.0
UTILIZATION = MetricRule(
    name="gpu_utilization",
    help="of the test",
    unit="percent",
    readings=(Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100),),
    maximum=100,
)


@pytest.fixture
def clock() -> Clock:
    """The cluster's clock."""
    return Clock(1_700_000_000)


@pytest.fixture
def api() -> KubernetesAPI:
    """The Kubernetes API with the cluster's objects."""
    return KubernetesAPI()


@pytest.fixture
async def cluster(api: KubernetesAPI, clock: Clock) -> AsyncIterator[Cluster]:
    """A cluster of two nodes, under a steady demand for three GPUs."""
    async with Cluster(
        api,
        nodes=NODE_COUNT,
        load=Load(base=300, amplitude=0, noise=0),
        loading_seconds=LOADING,
        deleting_seconds=DELETING,
        clock=clock,
    ) as running:
        yield running


def told(api: KubernetesAPI, resource: Resource) -> list[bytes]:
    """A resource's objects in the API, as JSON."""
    objects = api.store.snapshot(resource, api.store.version).values()
    return [msgspec.json.encode(obj) for obj in objects]


def told_pods(api: KubernetesAPI) -> list[Pod]:
    """The pods in the API, as the product reads them."""
    return [pod_decoder()(raw) for raw in told(api, PODS)]


class Replicas(msgspec.Struct, rename="camel"):
    """A Deployment's replica counts."""

    replicas: int
    ready_replicas: int = 0


class Deployment(msgspec.Struct):
    """The relevant part of a Deployment."""

    spec: Replicas
    status: Replicas


def deployment(api: KubernetesAPI) -> tuple[int, int, int]:
    """The desired, existing and ready replicas in the API."""
    (raw,) = told(api, DEPLOYMENTS)
    found = msgspec.json.decode(raw, type=Deployment)
    return found.spec.replicas, found.status.replicas, found.status.ready_replicas


async def test_its_nodes_and_exporters_are_published(api: KubernetesAPI, cluster: Cluster) -> None:
    """The API has every node, and the real address of its exporter."""
    service = ServiceRef(manifests.EXPORTER_NAMESPACE, manifests.EXPORTER_SERVICE)
    endpoints = EndpointStore([service])
    endpoints.replace([decode_endpoint_slice(raw) for raw in told(api, ENDPOINT_SLICES)])
    names = [str(node["metadata"]["name"]) for node in map(msgspec.json.decode, told(api, NODES))]
    assert len(names) == NODE_COUNT
    ways = {service: Way("http", "/metrics", AccessKeeper())}
    found = DiscoveredTargets(endpoints, ways).on_nodes(names)
    assert [url for urls in found.values() for url in urls] == list(cluster.exporter_urls)


async def test_a_pod_is_ready_after_loading(
    api: KubernetesAPI, cluster: Cluster, clock: Clock
) -> None:
    """A new pod is Running but not Ready until its model is loaded, also in the API."""
    cluster.scale(1)
    (pod,) = told_pods(api)
    assert (pod.phase, pod.ready, pod.gpus) == ("Running", False, 1)
    clock.now += LOADING - 1
    cluster.step()
    assert (cluster.ready_pods, deployment(api)) == (0, (1, 1, 0))
    clock.now += 1
    cluster.step()
    assert (cluster.ready_pods, deployment(api)) == (1, (1, 1, 1))
    assert [pod.ready for pod in told_pods(api)] == [True]


async def test_pods_that_have_been_there_for_long(api: KubernetesAPI, cluster: Cluster) -> None:
    """A Deployment can start with pods that already serve."""
    cluster.scale(3, ready=True)
    assert cluster.ready_pods == 3
    assert deployment(api) == (3, 3, 3)


@pytest.mark.parametrize("replicas", range(CAPACITY + 1))
async def test_scaling_up_spreads_over_nodes(
    api: KubernetesAPI, cluster: Cluster, replicas: int
) -> None:
    """Nodes differ by at most one pod, and no GPU is assigned twice."""
    cluster.scale(replicas)
    pods = told_pods(api)
    per_node = Counter(dict.fromkeys(("gpu-node-0", "gpu-node-1"), 0))
    per_node.update(pod.node for pod in pods)
    assert len(pods) == replicas
    assert len(per_node) == NODE_COUNT
    assert max(per_node.values()) - min(per_node.values()) <= 1
    assert len({gpu for pod in cluster.pods for gpu in pod.gpus}) == replicas


async def test_never_beyond_capacity(api: KubernetesAPI, cluster: Cluster) -> None:
    """Replicas beyond the GPUs are desired, but do not exist."""
    cluster.scale(CAPACITY + 5)
    assert len(told_pods(api)) == len(cluster.pods) == cluster.capacity == CAPACITY
    assert cluster.replicas == CAPACITY + 5
    assert deployment(api) == (CAPACITY + 5, CAPACITY, 0)


async def test_scaling_down_terminates_and_then_removes(
    api: KubernetesAPI, cluster: Cluster, clock: Clock
) -> None:
    """The newest pods terminate at once, and are gone after the drain."""
    cluster.scale(3, ready=True)
    oldest = cluster.pods[0].name
    cluster.scale(1)
    assert [pod.name for pod in cluster.pods] == [oldest]
    assert {pod.name: pod.terminating for pod in told_pods(api)} == {
        oldest: False,
        "inference-0002": True,
        "inference-0003": True,
    }
    clock.now += DELETING - 1
    cluster.step()
    assert len(told_pods(api)) == 3
    clock.now += 1
    cluster.step()
    assert [pod.name for pod in told_pods(api)] == [oldest]
    assert deployment(api) == (1, 1, 1)


async def test_a_terminating_pod_holds_its_gpu(cluster: Cluster, clock: Clock) -> None:
    """A pod without a free GPU is created once one is released."""
    cluster.scale(CAPACITY, ready=True)
    cluster.scale(CAPACITY - 2)
    cluster.scale(CAPACITY)
    assert len(cluster.pods) == CAPACITY - 2
    clock.now += DELETING
    cluster.step()
    assert len(cluster.pods) == CAPACITY
    assert len({gpu for pod in cluster.pods for gpu in pod.gpus}) == CAPACITY
    assert cluster.ready_pods == CAPACITY - 2


async def test_unchanged_objects_are_not_published_again(
    api: KubernetesAPI, cluster: Cluster
) -> None:
    """Time without events creates no versions in the API."""
    cluster.scale(2, ready=True)
    before = api.store.version
    cluster.step()
    assert api.store.version == before


async def measure(cluster: Cluster, pods: list[Pod]) -> Collection:
    """The product's current measurements of pods from the cluster's exporters."""

    class AllExporters:
        def on_nodes(self, nodes: object) -> dict[str, tuple[str, ...]]:
            return {pod.node: tuple(cluster.exporter_urls) for pod in pods} if nodes else {}

    scraper = Scraper(
        Page, timeout=5, max_age=60, max_concurrency=8, monitor=Monitor(CollectorRegistry())
    )
    async with scraper:
        source = ExporterSource(AllExporters(), scraper)
        return await source.collect(UTILIZATION, pods)


async def test_the_demand_is_what_the_exporters_show(api: KubernetesAPI, cluster: Cluster) -> None:
    """Ready pods share the demand; a loading one is idle."""
    cluster.scale(4, ready=True)
    cluster.scale(5)
    found = await measure(cluster, told_pods(api))
    assert [sample.gpus for sample in found.samples] == [(75,)] * 4 + [(0,)]


async def test_a_fault_comes_and_goes(api: KubernetesAPI, cluster: Cluster) -> None:
    """It affects every exporter; afterwards they serve at the same addresses."""
    cluster.scale(2, ready=True)
    before = list(cluster.exporter_urls)
    await cluster.set_fault(Fault("down"))
    broken = await measure(cluster, told_pods(api))
    assert not broken.samples
    assert [gap.reason for gap in broken.gaps] == ["exporters-failed"]
    await cluster.set_fault(None)
    assert list(cluster.exporter_urls) == before
    assert len((await measure(cluster, told_pods(api))).samples) == 2


async def test_a_fault_of_one_exporter(api: KubernetesAPI, cluster: Cluster) -> None:
    """Only the pods on its node have no sample."""
    cluster.scale(4, ready=True)
    first = cluster.exporter_urls[0]
    await cluster.set_fault(Fault("down"), exporters=1)
    broken = await measure(cluster, told_pods(api))
    assert len(broken.samples) == 2
    assert [gap.reason for gap in broken.gaps] == ["exporters-failed"]
    assert broken.gaps[0].text.startswith(f"exporter {first} ")
    await cluster.set_fault(None)
    assert len((await measure(cluster, told_pods(api))).samples) == 4


async def test_every_pod_is_listed_for_the_hpa(cluster: Cluster) -> None:
    """Including loading and terminating ones, with their states."""
    cluster.scale(2, ready=True)
    cluster.scale(1)
    cluster.scale(2)
    assert cluster.scaled_pods == (
        ScaledPod("inference-0001", "Running", ready=True, terminating=False),
        ScaledPod("inference-0002", "Running", ready=True, terminating=True),
        ScaledPod("inference-0003", "Running", ready=False, terminating=False),
    )
