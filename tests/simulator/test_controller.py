"""The demo's HPA controller, against a metrics API with the test's answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from metrics_server.api.types import GROUP, VERSION
from metrics_server.simulator.autoscaling.hpa import ExternalMetric, HorizontalPodAutoscaler
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.controller import Controller, Reading, Sync, metric_path
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import AUTOSCALERS, Object
from metrics_server.simulator.quantities import milli_value_of
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from tests.support.metrics_api import MetricsApi

HPA = HorizontalPodAutoscaler(
    namespace="default",
    metrics=(ExternalMetric("gpu_utilization", "app=inference", "Value", 50_000),),
    max_replicas=4,
    stabilization_window=0,
)


class Values(MetricsApi):
    """Answers with values of an External metric."""

    def tell(self, *values: str, source: str = "exporters") -> None:
        """Answer with these values from now on."""
        items: list[Object] = [
            {
                "metricName": HPA.metrics[0].name,
                "metricLabels": {"source": source, "pods": "2/3"},
                "timestamp": "2026-01-01T00:00:00Z",
                "value": value,
            }
            for value in values
        ]
        self.answer("ExternalMetricValueList", items)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The CA that the controller trusts."""
    return Authority("kubernetes")


@pytest.fixture
def metrics() -> Values:
    """The metrics API behind the aggregator."""
    return Values()


@asynccontextmanager
async def controlling(
    api: KubernetesAPI, bundle: bytes, replicas: int
) -> AsyncIterator[tuple[Controller, Cluster]]:
    """A controller of a cluster of four GPUs with this many ready pods."""
    async with Cluster(
        api, nodes=1, load=Load(), loading_seconds=60, deleting_seconds=60
    ) as cluster:
        cluster.scale(replicas, ready=True)
        async with Controller(HPA, cluster, api, bundle, lambda: 0.0) as controller:
            yield controller, cluster


@pytest.fixture
async def api(metrics: Values) -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API that aggregates the metrics API."""
    async with KubernetesAPI() as running:
        running.aggregate(GROUP, VERSION, metrics)
        yield running


class Condition(msgspec.Struct):
    """A condition of an HPA."""

    type: str
    status: str
    message: str


class Status(msgspec.Struct, rename="camel"):
    """The relevant part of an HPA's status."""

    desired_replicas: int
    conditions: Sequence[Condition]


class Told(msgspec.Struct):
    """An HPA in the API."""

    status: Status | None = None


def told(api: KubernetesAPI) -> Status | None:
    """The HPA's status in the API."""
    return msgspec.convert(api.store.get(AUTOSCALERS, "default", "inference"), Told).status


async def test_it_asks_as_the_real_one_does(
    api: KubernetesAPI, metrics: Values, authority: Authority
) -> None:
    """One GET, with the selector as url.Values encodes it, and protobuf preferred."""
    metrics.tell("50")
    async with controlling(api, authority.bundle, 2) as (controller, _):
        await controller.sync()
    path = (
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
        "?labelSelector=app%3Dinference"
    )
    assert metrics.asked == [(path, "application/vnd.kubernetes.protobuf, */*")]
    assert metric_path(HPA.namespace, HPA.metrics[0]) == path


@pytest.mark.parametrize(
    ("value", "replicas"),
    [("100", 4), ("75500m", 4), ("52", 2), ("25", 1)],
    ids=["above", "above, in thousandths", "within the tolerance", "below"],
)
async def test_it_scales_on_a_value(
    api: KubernetesAPI, metrics: Values, authority: Authority, value: str, replicas: int
) -> None:
    """Replicas follow the value by the HPA's arithmetic, in the cluster and in the API."""
    metrics.tell(value)
    async with controlling(api, authority.bundle, 2) as (controller, cluster):
        assert told(api) is None
        sync = await controller.sync()
        assert cluster.replicas == replicas
    assert (sync.replicas, sync.decision.replicas) == (2, replicas)
    assert sync.readings == (Reading("exporters", "2/3", milli_value_of(value)),)
    status = told(api)
    assert status is not None
    assert status.desired_replicas == replicas


async def test_several_items_are_one_sum(
    api: KubernetesAPI, metrics: Values, authority: Authority
) -> None:
    """The HPA sums them; the value is in thousandths, with its source and coverage."""
    metrics.tell("20", "30500m", source="last-known")
    async with controlling(api, authority.bundle, 2) as (controller, _):
        sync = await controller.sync()
    assert (sync.decision.current, sync.readings) == (
        (50_500,),
        (Reading("last-known", "2/3", 50_500),),
    )


def assert_kept(sync: Sync, cluster: Cluster, api: KubernetesAPI, message: str) -> None:
    """The sync found this error, and kept the replicas."""
    assert (sync.decision.current, sync.readings) == ((None,), (Reading("error", ""),))
    assert sync.decision.replicas == cluster.replicas == 3
    status = told(api)
    assert status is not None
    active = {condition.type: condition for condition in status.conditions}["ScalingActive"]
    assert active.status == "False"
    assert message in active.message


async def test_it_keeps_replicas_on_an_error(
    api: KubernetesAPI, metrics: Values, authority: Authority
) -> None:
    """The HPA's conditions quote it; replicas stay until there is a value."""
    async with controlling(api, authority.bundle, 3) as (controller, cluster):
        metrics.fail("3 pods, but no measurement")
        for _ in range(3):
            assert_kept(await controller.sync(), cluster, api, "3 pods, but no measurement")
        metrics.tell("100")
        await controller.sync()
        assert cluster.replicas == 4


async def test_it_keeps_replicas_on_an_error_without_a_status(
    api: KubernetesAPI, metrics: Values, authority: Authority
) -> None:
    """The aggregator's own error is plain text."""
    metrics.status, metrics.body = 503, b"error trying to reach service: refused"
    async with controlling(api, authority.bundle, 3) as (controller, cluster):
        sync = await controller.sync()
        assert_kept(sync, cluster, api, "error trying to reach service: refused")


async def test_it_keeps_replicas_where_the_api_is_not_trusted(authority: Authority) -> None:
    """A certificate from another authority is not trusted."""
    pair = Authority("another").issue(["127.0.0.1"])
    context = await asyncio.to_thread(context_from_pair, pair)
    async with KubernetesAPI(ssl_context=context) as api:
        metrics = Values()
        api.aggregate(GROUP, VERSION, metrics)
        async with controlling(api, authority.bundle, 3) as (controller, cluster):
            assert_kept(await controller.sync(), cluster, api, "certificate verify failed")
    assert not metrics.asked
