"""The HPA controller of the demo: queries the API as the real one does, decides, and scales."""

import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Self
from urllib.parse import quote_plus

import aiohttp
import msgspec
from msgspec import Struct, structs
from yarl import URL

from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    Answer,
    Condition,
    Decision,
    History,
    HorizontalPodAutoscaler,
    Item,
    Metric,
    MetricUnavailable,
    PodsMetric,
    Scale,
    ScaledPod,
)
from metrics_server.simulator.autoscaling.pods import group
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import AUTOSCALERS
from metrics_server.simulator.quantities import milli_value_of

# The HPA's client prefers protobuf, and accepts anything.
_ACCEPT = "application/vnd.kubernetes.protobuf, */*"
_EXTERNAL = "external.metrics.k8s.io/v1beta1"
_CUSTOM = "custom.metrics.k8s.io/v1beta2"


class _ObjectReference(Struct, frozen=True):
    name: str = ""


class _Value(Struct, rename="camel"):
    """An item of either API; each has one of the two attributes with a default."""

    value: str
    metric_labels: dict[str, str] = {}
    described_object: _ObjectReference = _ObjectReference()


class _List(Struct):
    items: list[_Value]


class _Status(Struct):
    message: str


class Reading(Struct, frozen=True):
    """Where a metric's answer came from.

    Attributes:
        source: such as "exporters" or "pods"; "error" after an error. The custom metrics API does
            not report it: values of single pods are always measured ones.
        pods: how many of the pods the metric covers, such as "3/4"; empty after an error.
        total: the sum of the items, a milli-value; None after an error.
        by_pod: the milli-values of a Pods metric, by pod.
    """

    source: str
    pods: str
    total: int | None = None
    by_pod: Mapping[str, int] = {}


class Sync(Struct, frozen=True):
    """The result of one sync.

    Attributes:
        replicas: spec.replicas before it.
        readings: where each metric came from.
        decision: the controller's decision.
    """

    replicas: int
    readings: tuple[Reading, ...]
    decision: Decision


class Controller:
    """Runs one HorizontalPodAutoscaler; an asynchronous context manager.

    Args:
        hpa: the HPA; it may be replaced at any time, and the next sync uses the new one.
        cluster: the cluster with the Deployment to scale.
        api: the Kubernetes API, whose aggregator forwards the request.
        bundle: the CA to verify the API's certificate with, PEM.
        clock: in seconds.
    """

    def __init__(
        self,
        hpa: HorizontalPodAutoscaler,
        cluster: Cluster,
        api: KubernetesAPI,
        bundle: bytes,
        clock: Callable[[], float],
    ) -> None:
        self.hpa = hpa
        self._cluster = cluster
        self._api = api
        self._context = ssl.create_default_context(cadata=bundle.decode())
        self._clock = clock
        self._history = History()
        self._conditions: dict[str, Condition] = {}
        self._publish(cluster.replicas, None)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context), headers={"Accept": _ACCEPT}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def sync(self) -> Sync:
        """Get the metrics, decide, and scale."""
        hpa = self.hpa
        values = [await self._get(metric) for metric in hpa.metrics]
        replicas, pods = self._cluster.replicas, self._cluster.scaled_pods
        scale = Scale(replicas, len(self._cluster.pods), pods)
        answers = [_answer(items) for items in values]
        decision = decide(hpa, scale, answers, self._history, self._clock())
        self._history = decision.history
        if decision.replicas != replicas:
            self._cluster.scale(decision.replicas)
        self._conditions |= {condition.type: condition for condition in decision.conditions}
        self._publish(replicas, decision)
        readings = tuple(_reading(*pair, pods) for pair in zip(hpa.metrics, values, strict=True))
        return Sync(replicas, readings, decision)

    async def read(self, metric: Metric) -> int | None:
        """Return the milli-value of a metric that the HPA does not use; None if there is none."""
        values = await self._get(metric)
        if isinstance(values, MetricUnavailable) or not values:
            return None
        return _sum(values)

    async def read_pods(self, metric: PodsMetric) -> Mapping[str, int]:
        """Return the milli-value of each pod that has one, by its name."""
        values = await self._get(metric)
        if isinstance(values, MetricUnavailable):
            return {}
        return _by_pod(values)

    async def _get(self, metric: Metric) -> list[_Value] | MetricUnavailable:
        path = metric_path(self.hpa.namespace, metric)
        # Encoded, or the star of a Pods metric would be decoded again.
        url = URL(f"{self._api.url}{path}", encoded=True)
        try:
            async with self._session.get(url) as response:
                body = await response.read()
        except aiohttp.ClientError as error:
            return MetricUnavailable(str(error))
        if response.status != 200:  # noqa: PLR2004 - HTTP's own number
            return MetricUnavailable(_message(body))
        return msgspec.json.decode(body, type=_List).items

    def _publish(self, replicas: int, decision: Decision | None) -> None:
        if decision is not None:
            # Conditions that this decision does not set stay as they were.
            conditions = tuple(self._conditions.values())
            decision = structs.replace(decision, conditions=conditions)
        obj = manifests.horizontal_pod_autoscaler(self.hpa, replicas, decision)
        self._api.apply(AUTOSCALERS, obj)


def _answer(values: list[_Value] | MetricUnavailable) -> Answer:
    if isinstance(values, MetricUnavailable):
        return values
    return tuple(Item(milli_value_of(v.value), v.described_object.name) for v in values)


def _reading(
    metric: Metric, values: list[_Value] | MetricUnavailable, pods: Iterable[ScaledPod]
) -> Reading:
    if isinstance(values, MetricUnavailable) or not values:
        return Reading("error", "")
    total = _sum(values)
    if isinstance(metric, PodsMetric):
        by_pod = _by_pod(values)
        groups = group(pods, by_pod)
        counted = groups.ready + len(groups.missing | groups.unready)
        return Reading(metric.source, f"{groups.ready}/{counted}", total, by_pod)
    sources = {value.metric_labels.get("source", "") for value in values}
    covered = {value.metric_labels.get("pods", "") for value in values}
    return Reading(",".join(sorted(sources)), ",".join(sorted(covered)), total)


def _by_pod(values: Iterable[_Value]) -> Mapping[str, int]:
    return {value.described_object.name: milli_value_of(value.value) for value in values}


def _sum(values: Iterable[_Value]) -> int:
    return sum(milli_value_of(value.value) for value in values)


def _message(body: bytes) -> str:
    """Return the message of an error's Status, or the text of a proxy in between."""
    try:
        return msgspec.json.decode(body, type=_Status).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")


def metric_path(namespace: str, metric: Metric) -> str:
    """Return the path and query of an HPA's request for a metric.

    A Pods metric is requested with the selector of the scale target.
    """
    if isinstance(metric, PodsMetric):
        path, selector = f"{_CUSTOM}/namespaces/{namespace}/pods/%2A", manifests.SELECTOR
    else:
        path, selector = f"{_EXTERNAL}/namespaces/{namespace}", metric.selector
    return f"/apis/{path}/{metric.name}?labelSelector={quote_plus(selector)}"
