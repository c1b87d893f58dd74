"""The HPA controller of the demo: queries the API as the real one does, decides, and scales."""

import ssl
from collections.abc import Callable, Iterable
from types import TracebackType
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


class Sync(Struct, frozen=True):
    """The result of one sync.

    Attributes:
        replicas: spec.replicas before it.
        source: where the metric came from; "error" after an error. The custom metrics API does not
            report it: values per pod are always the exporters'.
        pods: how many of the pods the metric covers, such as "3/4"; empty after an error.
        decision: the controller's decision.
    """

    replicas: int
    source: str
    pods: str
    decision: Decision


class Controller:
    """Runs one HorizontalPodAutoscaler; an asynchronous context manager.

    Args:
        hpa: the HPA.
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
        self._hpa = hpa
        self._cluster = cluster
        self._api = api
        self._context = ssl.create_default_context(cadata=bundle.decode())
        self._clock = clock
        self._history = History()
        self._conditions: dict[str, Condition] = {}
        # Encoded, or the star of a Pods metric would be decoded again.
        self._url = URL(f"{api.url}{metric_path(hpa)}", encoded=True)
        self._publish(cluster.replicas, None)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context), headers={"Accept": _ACCEPT}
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def sync(self) -> Sync:
        """Get the metric, decide, and scale."""
        values = await self._get()
        replicas, pods = self._cluster.replicas, self._cluster.scaled_pods
        scale = Scale(replicas, len(self._cluster.pods), pods)
        decision = decide(self._hpa, scale, _answer(values), self._history, self._clock())
        self._history = decision.history
        if decision.replicas != replicas:
            self._cluster.scale(decision.replicas)
        self._conditions |= {condition.type: condition for condition in decision.conditions}
        self._publish(replicas, decision)
        source, covered = _origin(values, pods)
        return Sync(replicas, source, covered, decision)

    async def _get(self) -> list[_Value] | MetricUnavailable:
        try:
            async with self._session.get(self._url) as response:
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
        obj = manifests.horizontal_pod_autoscaler(self._hpa, replicas, decision)
        self._api.apply(AUTOSCALERS, obj)


def _answer(values: list[_Value] | MetricUnavailable) -> Answer:
    if isinstance(values, MetricUnavailable):
        return values
    return tuple(Item(milli_value_of(v.value), v.described_object.name) for v in values)


def _origin(values: list[_Value] | MetricUnavailable, pods: Iterable[ScaledPod]) -> tuple[str, str]:
    """Return where a metric came from, and how many of the pods it covers."""
    if isinstance(values, MetricUnavailable) or not values:
        return "error", ""
    described = {value.described_object.name for value in values}
    if any(described):
        groups = group(pods, described)
        counted = groups.ready + len(groups.missing | groups.unready)
        return "exporters", f"{groups.ready}/{counted}"
    sources = {value.metric_labels.get("source", "") for value in values}
    covered = {value.metric_labels.get("pods", "") for value in values}
    return ",".join(sorted(sources)), ",".join(sorted(covered))


def _message(body: bytes) -> str:
    """Return the message of an error's Status, or the text of a proxy in between."""
    try:
        return msgspec.json.decode(body, type=_Status).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")


def metric_path(hpa: HorizontalPodAutoscaler) -> str:
    """Return the path and query of an HPA's request.

    A Pods metric is requested with the selector of the scale target.
    """
    metric = hpa.metric
    if isinstance(metric, PodsMetric):
        path, selector = f"{_CUSTOM}/namespaces/{hpa.namespace}/pods/%2A", manifests.SELECTOR
    else:
        path, selector = f"{_EXTERNAL}/namespaces/{hpa.namespace}", metric.selector
    return f"/apis/{path}/{metric.name}?labelSelector={quote_plus(selector)}"
