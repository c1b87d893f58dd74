"""external.metrics.k8s.io: GET …/namespaces/{namespace}/{metric}?labelSelector=… ."""

import re
from functools import lru_cache

from metrics_server.api.groups import ApiGroup, external_metrics_group
from metrics_server.api.negotiation import Offer
from metrics_server.api.requests import (
    TABLE,
    Counted,
    MetricRequest,
    check_path,
    parameters_of,
)
from metrics_server.api.table import table_of
from metrics_server.api.types import (
    GROUP,
    ExternalMetricValue,
    ExternalMetricValueList,
    encode,
    format_quantity,
    format_timestamp,
)
from metrics_server.common.clock import time_of_day
from metrics_server.common.text import printable
from metrics_server.errors import BadRequestError, NotFoundError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.series_selectors import split
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Answer, Question
from metrics_server.rules.lookup import Rules
from metrics_server.telemetry.metrics import Monitor

_FIELD_REQUIREMENT = re.compile(r"\s*([^=!,\s]+)\s*(==|=|!=)([^=!,]*)")


class ExternalMetrics:
    """Answers requests for External metrics, each with one value for all pods selected.

    Args:
        provider: answers the questions.
        rules: the metrics.
        monitor: counts requests and errors.
    """

    def __init__(self, provider: MetricsProvider, rules: Rules, monitor: Monitor) -> None:
        self._provider = provider
        self._counted = Counted("external", rules.known(), monitor)
        self._group = external_metrics_group(rules.names())

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
        if len(request.segments) != 1:
            raise NotFoundError(request.path)
        metric = request.segments[0]
        return await self._counted.count(metric, self._answer(request, metric))

    async def _answer(self, request: MetricRequest, metric: str) -> tuple[bytes, str]:
        form = request.form
        question = (_known_question if request.is_short else _question)(request, metric)
        answer = await self._provider.answer(question)
        return _encoded(metric, request.namespace, answer, form)


# HPAs repeat the same questions, and within maxAge the answers are the same.
@lru_cache(maxsize=1024)
def _encoded(metric: str, namespace: str, answer: Answer, form: Offer) -> tuple[bytes, str]:
    values = _values(metric, answer)
    body = encode(table_of(values, namespace) if form == TABLE else values)
    return body, form.content_type


def _values(metric: str, answer: Answer) -> ExternalMetricValueList:
    """One item, because the HPA adds up the items."""
    labels: dict[str, str] = {"source": answer.source}
    if answer.selected:
        labels["pods"] = f"{answer.covered}/{answer.selected}"
    if answer.shared:
        labels["shared"] = "true"
    return ExternalMetricValueList(
        items=(
            ExternalMetricValue(
                metric_name=metric,
                metric_labels=labels,
                timestamp=format_timestamp(time_of_day(answer.timestamp)),
                window=answer.window or None,
                value=format_quantity(answer.value, answer.decimals),
            ),
        )
    )


def _question(request: MetricRequest, metric: str) -> Question:
    """The question in a request."""
    parameters = parameters_of(request.query, f"{metric}.{GROUP}")
    _check_field_selector(parameters.get("fieldSelector", ""), request.namespace)
    pods, series = split(parse_selector(parameters.get("labelSelector", "")))
    return Question(request.namespace, metric.lower(), pods, series=series)


_known_question = lru_cache(maxsize=1024)(_question)


def _check_field_selector(text: str, namespace: str) -> None:
    """Reject selectors without effect: an answer for all pods is not one for the pod named."""
    for requirement in filter(None, text.split(",")):
        parts = _FIELD_REQUIREMENT.fullmatch(requirement)
        if parts is None:
            raise BadRequestError(
                f'fieldSelector: "{printable(requirement)}" does not have the form name=value'
            )
        field, operator, value = parts.groups()
        if field == "metadata.name":
            raise BadRequestError(
                f'fieldSelector: "{printable(requirement)}" cannot select a pod: an answer is one '
                "number for all pods whose labels match. Ask for one pod by a label that only it "
                "has, such as labelSelector=statefulset.kubernetes.io/pod-name=NAME for a "
                "StatefulSet's"
            )
        if field != "metadata.namespace":
            raise BadRequestError(
                f'fieldSelector: "{printable(field)}" is not supported: select pods by their '
                "labels, with labelSelector"
            )
        if operator == "!=" or value.strip() != namespace:
            raise BadRequestError(
                f'fieldSelector: "{printable(requirement)}" is not the namespace of the path, '
                f'"{printable(namespace)}"'
            )
