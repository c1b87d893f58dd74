"""The demo's HPA controller with a Pods metric, against an API with scripted answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from metrics_server.api.types import CUSTOM_GROUP, CUSTOM_VERSIONS
from metrics_server.simulator.autoscaling.hpa import HorizontalPodAutoscaler, PodsMetric
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.controller import Controller, Reading, metric_path
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import AUTOSCALERS, Object
from metrics_server.tls.authority import Authority
from tests.support.metrics_api import MetricsApi

HPA = HorizontalPodAutoscaler(
    namespace="default",
    metrics=(PodsMetric("gpu_utilization", 50_000),),
    max_replicas=8,
    stabilization_window=0,
)
PATH = (
    "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/%2A/gpu_utilization"
    "?labelSelector=app%3Dinference"
)


class Condition(msgspec.Struct):
    """A condition of an HPA."""

    type: str
    reason: str


class Status(msgspec.Struct):
    """The relevant part of an HPA's status."""

    conditions: list[Condition]


class Values(MetricsApi):
    """Answers with values of a Pods metric."""

    def tell(self, **values: str) -> None:
        """Answer with a value for each of these pods, by the last digit of their names."""
        items: list[Object] = [
            {
                "describedObject": {
                    "kind": "Pod",
                    "namespace": "default",
                    "name": f"inference-000{digit.strip('_')}",
                    "apiVersion": "/v1",
                },
                "metric": {"name": "gpu_utilization", "selector": None},
                "timestamp": "2026-01-01T00:00:00Z",
                "value": value,
            }
            for digit, value in values.items()
        ]
        self.answer("MetricValueList", items)


@pytest.fixture(scope="module")
def bundle() -> bytes:
    """The CA that the controller trusts."""
    return Authority("kubernetes").bundle


@pytest.fixture
def metrics() -> Values:
    """The metrics API behind the aggregator."""
    return Values()


@pytest.fixture
async def api(metrics: Values) -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API that aggregates the metrics API."""
    async with KubernetesAPI() as running:
        for version in CUSTOM_VERSIONS:
            running.aggregate(CUSTOM_GROUP, version, metrics)
        yield running


@asynccontextmanager
async def controlling(
    api: KubernetesAPI, bundle: bytes
) -> AsyncIterator[tuple[Controller, Cluster]]:
    """A controller of four Ready pods on eight GPUs."""
    async with Cluster(
        api, nodes=2, load=Load(), loading_seconds=60, deleting_seconds=60
    ) as cluster:
        cluster.scale(4, ready=True)
        async with Controller(HPA, cluster, api, bundle, lambda: 0.0) as controller:
            yield controller, cluster


async def test_it_asks_as_the_real_one_does(
    api: KubernetesAPI, metrics: Values, bundle: bytes
) -> None:
    """One GET for all pods, the star encoded, with the Deployment's own selector."""
    metrics.tell(_1="50")
    async with controlling(api, bundle) as (controller, _):
        await controller.sync()
    assert metrics.asked == [(PATH, "application/vnd.kubernetes.protobuf, */*")]
    assert metric_path(HPA.namespace, HPA.metrics[0]) == PATH


def reading(pods: str, **values: int) -> Reading:
    """A reading with pods' milli-values."""
    by_pod = {f"inference-{name[1:]:0>4}": value for name, value in values.items()}
    return Reading("exporters", pods, sum(values.values()), by_pod)


async def test_it_scales_on_the_mean(api: KubernetesAPI, metrics: Values, bundle: bytes) -> None:
    """Replicas follow the items' mean; the source says how many pods they cover."""
    metrics.tell(_1="100", _2="80500m", _3="70", _4="70")
    async with controlling(api, bundle) as (controller, cluster):
        sync = await controller.sync()
        assert cluster.replicas == 7
    assert (sync.replicas, sync.readings) == (
        4,
        (reading("4/4", _1=100_000, _2=80_500, _3=70_000, _4=70_000),),
    )
    assert sync.decision.current == (80_125,)


async def test_a_pod_without_an_item_damps(
    api: KubernetesAPI, metrics: Values, bundle: bytes
) -> None:
    """Three items at 100 and a missing pod give 6 replicas, not 8."""
    metrics.tell(_1="100", _2="100", _3="100")
    async with controlling(api, bundle) as (controller, cluster):
        sync = await controller.sync()
        assert cluster.replicas == 6
    assert sync.readings == (reading("3/4", _1=100_000, _2=100_000, _3=100_000),)


async def test_a_loading_pod_is_missing_and_a_terminating_one_is_not(
    api: KubernetesAPI, metrics: Values, bundle: bytes
) -> None:
    """A Running pod without an item counts; a terminating one does not, nor does its item."""
    async with controlling(api, bundle) as (controller, cluster):
        cluster.scale(3)
        metrics.tell(_1="60", _2="60", _3="60", _4="100")
        sync = await controller.sync()
        assert (sync.decision.current, cluster.replicas) == ((60_000,), 4)
        assert sync.readings == (reading("3/3", _1=60_000, _2=60_000, _3=60_000, _4=100_000),)
        # The new pod is loading.
        sync = await controller.sync()
        assert (sync.decision.current, cluster.replicas) == ((60_000,), 4)
        assert sync.readings == (reading("3/4", _1=60_000, _2=60_000, _3=60_000, _4=100_000),)


@pytest.mark.parametrize("answer", ["error", "empty", "terminating"])
async def test_it_keeps_replicas_without_a_value(
    api: KubernetesAPI, metrics: Values, bundle: bytes, answer: str
) -> None:
    """The HPA's condition in the API says why, and the replicas stay."""
    async with controlling(api, bundle) as (controller, cluster):
        if answer == "error":
            metrics.fail("4 pods, but no measurement")
        elif answer == "empty":
            metrics.tell()
        else:
            cluster.scale(0)
            cluster.scale(2)
            metrics.tell(_1="100")
        before = cluster.replicas
        sync = await controller.sync()
        assert sync.decision.replicas == cluster.replicas == before
    assert sync.decision.current == (None,)
    assert sync.readings[0].source == ("exporters" if answer == "terminating" else "error")
    stored = msgspec.json.encode(api.store.get(AUTOSCALERS, "default", "inference")).decode()
    assert '"FailedGetPodsMetric"' in stored
    assert {
        "error": "unable to fetch metrics from custom metrics API: 4 pods, but no measurement",
        "empty": "no metrics returned from custom metrics API",
        "terminating": "did not receive metrics for targeted pods (pods might be unready)",
    }[answer] in stored


async def test_conditions_stay_until_they_are_set_again(
    api: KubernetesAPI, metrics: Values, bundle: bytes
) -> None:
    """After an error, the HPA keeps the last decision's condition about its limits."""
    async with controlling(api, bundle) as (controller, _):
        metrics.tell(_1="50", _2="50", _3="50", _4="50")
        await controller.sync()
        metrics.fail("no")
        await controller.sync()
    stored = api.store.get(AUTOSCALERS, "default", "inference")
    assert stored is not None
    conditions = msgspec.convert(stored["status"], Status).conditions
    assert [(one.type, one.reason) for one in conditions] == [
        ("AbleToScale", "SucceededGetScale"),
        ("ScalingActive", "FailedGetPodsMetric"),
        ("ScalingLimited", "DesiredWithinRange"),
    ]
