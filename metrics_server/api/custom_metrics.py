"""custom.metrics.k8s.io: the metrics of pods, and of objects that select pods.

GET …/namespaces/{namespace}/pods/{name or *}/{metric}    a value for each pod that has one
GET …/namespaces/{namespace}/{resource}/{name}/{metric}   one value for the pods of an object
GET …/namespaces/{namespace}/metrics/{metric}             one value for the pods of the namespace

The parameters `labelSelector` and `metricLabelSelector` both select pods by their labels, and rows
of their pages by the labels under series/.
"""

from functools import lru_cache

from msgspec import UNSET, Struct

from metrics_server.api.groups import ApiGroup, custom_metrics_group
from metrics_server.api.requests import (
    TABLE,
    Counted,
    MetricRequest,
    check_path,
    parameters_of,
)
from metrics_server.api.table import custom_table_of
from metrics_server.api.types import (
    CUSTOM_GROUP,
    MetricIdentifier,
    MetricValue,
    MetricValueList,
    MetricValueListV1beta1,
    MetricValueV1beta1,
    ObjectReference,
    encode,
    format_quantity,
    format_timestamp,
)
from metrics_server.common.clock import time_of_day
from metrics_server.common.text import printable
from metrics_server.common.weight import BytesLRU, weight
from metrics_server.errors import BadRequestError, NotFoundError, UnknownObjectError
from metrics_server.kube.label_selectors import LabelSelector, joined, label_selector_of
from metrics_server.kube.labels import Selector, parse_selector
from metrics_server.kube.series_selectors import split
from metrics_server.kube.workloads import KINDS, Workloads
from metrics_server.measuring.aggregation import EXACT
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Answer, Form, Question
from metrics_server.rules.lookup import Rules
from metrics_server.rules.series import SeriesSelector
from metrics_server.telemetry.metrics import Monitor

ANY = "*"
"""The name that stands for all pods."""

_PODS = "pods"
# RequestInfo of k8s.io/apiserver would take …/namespaces/NAME/METRIC for a resource METRIC, so the
# API has its own resource for the metrics of a Namespace.
_OF_NAMESPACE = "metrics"
_MAX_KEPT_BYTES = 32 * 1024 * 1024


class _Target(Struct, frozen=True):
    """The target that a path names.

    Attributes:
        resource: such as "pods" or "deployments.apps".
        name: of the object.
        metric: as in the path.
    """

    resource: str
    name: str
    metric: str

    @property
    def form(self) -> Form:
        return "pods" if self.resource == _PODS else "plain"


class _Selected(Struct, frozen=True):
    """The selectors in a query.

    Attributes:
        pods: which pods.
        series: which rows of their pages.
        asked: `metricLabelSelector` as answers repeat it; None without one.
    """

    pods: Selector
    series: SeriesSelector
    asked: LabelSelector | None


class _Encoded(Struct, frozen=True):
    """The encoded body of an answer, valid as long as the answer is the same object."""

    answer: Answer
    body: bytes


class CustomMetrics:
    """Answers requests for Pods and Object metrics.

    Args:
        provider: answers the questions.
        workloads: knows which pods an object selects.
        rules: the metrics.
        monitor: counts requests and errors.
    """

    def __init__(
        self, provider: MetricsProvider, workloads: Workloads, rules: Rules, monitor: Monitor
    ) -> None:
        self._provider = provider
        self._workloads = workloads
        self._counted = Counted("custom", rules.known(), monitor)
        self._group = custom_metrics_group(rules.names(), (_PODS, *KINDS))
        self._encoded: BytesLRU[tuple[MetricRequest, str], _Encoded] = BytesLRU(_MAX_KEPT_BYTES)

    @property
    def group(self) -> ApiGroup:
        """The group that discovery reports."""
        return self._group

    async def answer(self, request: MetricRequest) -> tuple[bytes, str]:
        """The body and content type of the answer.

        Raises:
            RequestError: the request is rejected, or has no answer.
        """
        check_path(request)
        match request.segments:
            case (resource, name, metric) if resource != _OF_NAMESPACE:
                target = _Target(resource, name, metric)
            case (resource, metric) if resource == _OF_NAMESPACE:
                target = _Target(resource, request.namespace, metric)
            case _:
                raise NotFoundError(request.path)
        return await self._counted.count(target.metric, self._answer(request, target))

    async def _answer(self, request: MetricRequest, target: _Target) -> tuple[bytes, str]:
        form = request.form
        selected = (_known_selectors if request.is_short else _selectors)(request.query, target)
        # Checked before an object is read, since this server may not serve the namespace.
        self._provider.check(request.namespace, target.metric)
        pods = await self._pods_of(request.namespace, target)
        question = Question(
            request.namespace,
            target.metric.lower(),
            joined(pods, selected.pods),
            target.form,
            target.name if target.resource == _PODS and target.name != ANY else "",
            selected.series,
        )
        answer = await self._provider.answer(question)
        key = (request, form.kind)
        known = self._encoded.get(key)
        if known is None or known.answer is not answer:
            values = _values(request.namespace, target, selected.asked, answer)
            if form == TABLE:
                body = encode(custom_table_of(values))
            else:
                body = encode(_old(values) if request.version == "v1beta1" else values)
            known = _Encoded(answer, body)
            self._encoded.put(key, known, weight(key) + 2 * len(body))
        return known.body, form.content_type

    async def _pods_of(self, namespace: str, target: _Target) -> Selector:
        """The selector of the pods of an object.

        Raises:
            UnknownObjectError: metrics of such objects are not served.
        """
        if target.resource in (_PODS, _OF_NAMESPACE):
            return Selector()
        kind = KINDS.get(target.resource)
        if kind is None:
            raise UnknownObjectError(
                f'metrics of "{printable(target.resource)}" are not served: an Object metric can '
                f"describe a Namespace or one of {', '.join(KINDS)}"
            )
        if target.name == ANY:
            raise BadRequestError(
                f'"{ANY}" stands for all pods only: name one of the {target.resource}'
            )
        return await self._workloads.selector(kind, namespace, target.name)


def _selectors(query: str, target: _Target) -> _Selected:
    """The selectors in both parameters of a query."""
    parameters = parameters_of(query, f"{target.resource}/{target.metric}.{CUSTOM_GROUP}")
    if parameters.get("fieldSelector"):
        raise BadRequestError(
            "fieldSelector is not supported: ask for one pod by its name, "
            f"pods/NAME/{printable(target.metric)}"
        )
    metric_selector = parse_selector(parameters.get("metricLabelSelector", ""))
    selector = joined(parse_selector(parameters.get("labelSelector", "")), metric_selector)
    asked = label_selector_of(metric_selector) if metric_selector.requirements else None
    return _Selected(*split(selector), asked)


# HPAs repeat the same queries.
_known_selectors = lru_cache(maxsize=1024)(_selectors)


def _values(
    namespace: str, target: _Target, metric_selector: LabelSelector | None, answer: Answer
) -> MetricValueList:
    metric = MetricIdentifier(target.metric, metric_selector)
    window = answer.window or UNSET
    if target.form == "pods":
        return MetricValueList(
            items=tuple(
                [
                    MetricValue(
                        described_object=ObjectReference("Pod", namespace, one.pod),
                        metric=metric,
                        timestamp=format_timestamp(time_of_day(one.timestamp)),
                        window_seconds=window,
                        # Exact, as the HPA takes the mean of the values.
                        value=format_quantity(one.value, EXACT),
                    )
                    for one in answer.pods
                ]
            )
        )
    return MetricValueList(
        items=(
            MetricValue(
                described_object=_reference(namespace, target),
                metric=metric,
                timestamp=format_timestamp(time_of_day(answer.timestamp)),
                window_seconds=window,
                value=format_quantity(answer.value, answer.decimals),
            ),
        )
    )


def _reference(namespace: str, target: _Target) -> ObjectReference:
    kind = KINDS.get(target.resource)
    if kind is None:
        return ObjectReference("Namespace", namespace, target.name)
    version = kind.api_version if "/" in kind.api_version else f"/{kind.api_version}"
    return ObjectReference(kind.kind, namespace, target.name, version)


def _old(values: MetricValueList) -> MetricValueListV1beta1:
    """The same in v1beta1."""
    return MetricValueListV1beta1(
        items=tuple(
            MetricValueV1beta1(
                described_object=one.described_object,
                metric_name=one.metric.name,
                timestamp=one.timestamp,
                window=one.window_seconds,
                value=one.value,
                selector=one.metric.selector,
            )
            for one in values.items
        )
    )
