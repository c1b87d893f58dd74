"""The HPA controller of the demo: queries the API as the real one does, decides, and scales."""

import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import quote_plus

import aiohttp
import msgspec
from msgspec import Struct

from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaler import (
    Decision,
    History,
    HorizontalPodAutoscaler,
    MetricUnavailable,
    Scale,
    decide,
)
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import AUTOSCALERS
from metrics_server.simulator.quantities import milli_value_of

# The HPA's client prefers protobuf, and accepts anything.
_ACCEPT = "application/vnd.kubernetes.protobuf, */*"
_GROUP_VERSION = "external.metrics.k8s.io/v1beta1"


class _Item(Struct, rename="camel"):
    value: str
    metric_labels: dict[str, str] = {}


class _List(Struct):
    items: list[_Item]


class _Status(Struct):
    message: str


class Sync(Struct, frozen=True):
    """The result of one sync.

    Attributes:
        replicas: spec.replicas before it.
        value: the metric, in milli-units; None after an error.
        source: where it came from, from its metricLabels; "error" after an error.
        decision: the controller's decision.
    """

    replicas: int
    value: int | None
    source: str
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
        self._url = f"{api.url}{metric_path(hpa)}"
        api.apply(AUTOSCALERS, manifests.horizontal_pod_autoscaler(hpa, None))

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
        answer, source = await self._get()
        replicas = self._cluster.replicas
        scale = Scale(replicas, len(self._cluster.pods), self._cluster.ready_pods)
        decision = decide(self._hpa, scale, answer, self._history, self._clock())
        self._history = decision.history
        if decision.replicas != replicas:
            self._cluster.scale(decision.replicas)
        self._api.apply(AUTOSCALERS, manifests.horizontal_pod_autoscaler(self._hpa, decision))
        value = None if isinstance(answer, MetricUnavailable) else sum(answer)
        return Sync(replicas, value, source, decision)

    async def _get(self) -> tuple[tuple[int, ...] | MetricUnavailable, str]:
        try:
            async with self._session.get(self._url) as response:
                body = await response.read()
        except aiohttp.ClientError as error:
            return MetricUnavailable(str(error)), "error"
        if response.status != 200:  # noqa: PLR2004 - HTTP's own number
            return MetricUnavailable(_message(body)), "error"
        items = msgspec.json.decode(body, type=_List).items
        sources = {item.metric_labels.get("source", "") for item in items}
        return tuple(milli_value_of(item.value) for item in items), ",".join(sorted(sources))


def _message(body: bytes) -> str:
    """Return the message of an error's Status, or the text of a proxy in between."""
    try:
        return msgspec.json.decode(body, type=_Status).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")


def metric_path(hpa: HorizontalPodAutoscaler) -> str:
    """Return the path and query of an HPA's request."""
    query = f"labelSelector={quote_plus(hpa.selector)}"
    return f"/apis/{_GROUP_VERSION}/namespaces/{hpa.namespace}/{hpa.metric}?{query}"
