"""The metric request: GET …/namespaces/{namespace}/{metric}?labelSelector=… ."""

import asyncio
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import parse_qsl

from metrics_server.api.negotiation import Offer, negotiate
from metrics_server.api.table import TABLE_GROUP, TABLE_VERSION, table_of
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
from metrics_server.common.weight import MAX_KEPT_CHARACTERS
from metrics_server.errors import (
    BadRequestError,
    MethodNotAllowedError,
    NotAcceptableError,
    RequestError,
)
from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.provider import ExternalMetricsProvider
from metrics_server.measuring.samples import Answer, Question
from metrics_server.telemetry.metrics import Monitor

_PLAIN = Offer()
_TABLE = Offer(kind="Table", group=TABLE_GROUP, version=TABLE_VERSION)
_OFFERS = (_PLAIN, _TABLE)

# The numbers of metav1.ListOptions; accepted and checked, but without effect here.
_NUMBERS = ("limit", "timeoutSeconds")
MAX_PARAMETERS = 64
"""The most parameters in a query."""

# What proxies use for a request whose client did not wait for the answer.
_CLIENT_GONE = 499
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_FIELD_REQUIREMENT = re.compile(r"\s*([^=!,\s]+)\s*(==|=|!=)([^=!,]*)")


class ExternalMetrics:
    """Answers metric requests.

    Args:
        provider: answers the questions.
        metrics: the names of all metrics, listed in discovery or not.
        monitor: counts requests and errors.
    """

    def __init__(
        self, provider: ExternalMetricsProvider, metrics: Iterable[str], monitor: Monitor
    ) -> None:
        self._provider = provider
        self._metrics = frozenset(metric.lower() for metric in metrics)
        self._monitor = monitor

    async def answer(
        self, namespace: str, metric: str, query: str, accept: str | None
    ) -> tuple[bytes, str]:
        """The body and content type of the answer.

        Args:
            namespace: from the path, decoded.
            metric: from the path, decoded.
            query: the URL's query, as sent.
            accept: the Accept header.

        Raises:
            RequestError: the request is rejected, or has no answer.
        """
        start = time.perf_counter()
        # An unknown name is the client's choice: as a label, it would grow without bound.
        label = name if (name := metric.lower()) in self._metrics else ""
        code = 500
        try:
            answer = await self._answer(namespace, metric, query, accept)
        except RequestError as error:
            code = error.code
            self._monitor.failed(error.reason)
            raise
        except asyncio.CancelledError:
            code = _CLIENT_GONE
            raise
        else:
            code = 200
            return answer
        finally:
            self._monitor.answered(label, code, time.perf_counter() - start)

    async def _answer(
        self, namespace: str, metric: str, query: str, accept: str | None
    ) -> tuple[bytes, str]:
        offer = negotiate(accept, _OFFERS)
        if offer is None:
            raise NotAcceptableError(accept or "", [one.content_type for one in _OFFERS])
        is_short = len(query) + len(metric) + len(namespace) <= 2 * MAX_KEPT_CHARACTERS
        read = _known_question if is_short else _question
        answer = await self._provider.answer(read(namespace, metric, query))
        return _encoded(metric, namespace, answer, offer)


# HPAs repeat the same questions, and within maxAge the answers are the same.
@lru_cache(maxsize=1024)
def _encoded(metric: str, namespace: str, answer: Answer, offer: Offer) -> tuple[bytes, str]:
    values = _values(metric, answer)
    body = encode(table_of(values, namespace) if offer == _TABLE else values)
    return body, offer.content_type


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


def _question(namespace: str, metric: str, query: str) -> Question:
    """The question in a request."""
    selector = parse_selector(_selector_in(query, metric, namespace) if query else "")
    return Question(namespace, metric.lower(), selector)


_known_question = lru_cache(maxsize=1024)(_question)


def _selector_in(query: str, metric: str, namespace: str) -> str:
    """The label selector of a query, after checking the other metav1.ListOptions."""
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except UnicodeError as error:
        raise BadRequestError(f"the query is not form-encoded UTF-8: {error}") from error
    except ValueError:
        raise BadRequestError(f"the query has more than {MAX_PARAMETERS} parameters") from None
    # As in Go's url.Values, a parameter's first value counts.
    parameters = dict(reversed(pairs))
    if parameters.get("watch", "false").lower() not in ("false", "0"):
        raise MethodNotAllowedError(
            f"watch is not supported on resources of kind {printable(metric)}.{GROUP}: it has a "
            "value only at the time of the request"
        )
    for name in _NUMBERS:
        text = parameters.get(name, "")
        if text and not _INTEGER.fullmatch(text):
            raise BadRequestError(f'{name} is "{printable(text)}": it must be a whole number')
    _check_field_selector(parameters.get("fieldSelector", ""), namespace)
    return parameters.get("labelSelector", "")


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
