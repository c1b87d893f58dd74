"""The common parts of requests for metrics, whichever API they come through."""

import asyncio
import re
import time
from collections.abc import Awaitable, Iterable, Mapping
from functools import cached_property
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl

from msgspec import Struct

from metrics_server.api.groups import ApiGroup
from metrics_server.api.negotiation import Offer, negotiate
from metrics_server.api.table import TABLE_GROUP, TABLE_VERSION
from metrics_server.common.text import printable
from metrics_server.common.weight import MAX_KEPT_CHARACTERS
from metrics_server.errors import (
    BadRequestError,
    MethodNotAllowedError,
    NotAcceptableError,
    NotFoundError,
    RequestError,
)
from metrics_server.http.paths import decoded
from metrics_server.telemetry.metrics import Monitor

T = TypeVar("T")

PLAIN = Offer()
TABLE = Offer(kind="Table", group=TABLE_GROUP, version=TABLE_VERSION)
_OFFERS = (PLAIN, TABLE)

MAX_PARAMETERS = 64
"""The most parameters in a query."""

# The numbers of metav1.ListOptions; accepted and checked, but without effect here.
_NUMBERS = ("limit", "timeoutSeconds")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
# What proxies use for a request whose client did not wait for the answer.
_CLIENT_GONE = 499


class MetricRequest(Struct, frozen=True, cache_hash=True, dict=True):
    """A request below a version of an API.

    Attributes:
        group: the API group.
        version: of the group.
        namespace: the namespace; "" where the path has none.
        segments: what follows it in the path, decoded; none is empty.
        query: the URL's query, as sent.
        accept: the Accept header.
        path: the whole path, for messages.
    """

    group: str
    version: str
    namespace: str
    segments: tuple[str, ...]
    query: str
    accept: str | None
    path: str

    @cached_property
    def is_short(self) -> bool:
        """Whether it is short enough for caches that are bounded by a count."""
        length = len(self.path) + len(self.query) + len(self.accept or "")
        return length <= 3 * MAX_KEPT_CHARACTERS

    @cached_property
    def form(self) -> Offer:
        """The form in which the client accepts metrics.

        Raises:
            NotAcceptableError: it accepts none.
        """
        offer = negotiate(self.accept, _OFFERS)
        if offer is None:
            raise NotAcceptableError(self.accept or "", [one.content_type for one in _OFFERS])
        return offer


def metric_request(path: str, query: str, accept: str | None) -> MetricRequest | None:
    """Read a request; None if its path is not below a version of an API group.

    Args:
        path: as sent, without a slash at its end.
        query: as sent.
        accept: the Accept header.

    Raises:
        BadRequestError: the path is not percent-encoded UTF-8.
    """
    match path.split("/"):
        case ["", "apis", group, version, "namespaces", namespace, *segments]:
            pass
        case ["", "apis", group, version, *segments] if segments:
            namespace = ""
        case _:
            return None
    return MetricRequest(
        group, version, decoded(namespace), tuple(map(decoded, segments)), query, accept, path
    )


class MetricsApi(Protocol):
    """One of the API groups through which metrics are requested."""

    @property
    def group(self) -> ApiGroup:
        """The group that discovery reports."""
        ...

    async def answer(self, request: MetricRequest) -> tuple[bytes, str]:
        """The body and content type of the answer.

        Raises:
            RequestError: the request is rejected, or has no answer.
        """
        ...


class Counted:
    """Counts the requests of one API.

    Args:
        api: its name, for the label.
        metrics: the names of all metrics, listed in discovery or not.
        monitor: counts requests and errors.
    """

    def __init__(self, api: str, metrics: Iterable[str], monitor: Monitor) -> None:
        self._api = api
        self._metrics = frozenset(metric.lower() for metric in metrics)
        self._monitor = monitor

    async def count(self, metric: str, answering: Awaitable[T]) -> T:
        """Wait for the answer to a request for a metric, and count it, whatever the outcome."""
        start = time.perf_counter()
        # An unknown name is the client's choice: as a label, it would grow without bound.
        label = name if (name := metric.lower()) in self._metrics else ""
        code = 500
        try:
            answer = await answering
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
            self._monitor.answered(self._api, label, code, time.perf_counter() - start)


def check_path(request: MetricRequest) -> None:
    """Check what the paths of every API have in common.

    Raises:
        NotFoundError: nothing is served at the path.
        BadRequestError: it has no namespace.
    """
    segments = request.segments
    if not segments or not all(segments) or segments == ("namespaces",):
        raise NotFoundError(request.path)
    if request.namespace in ("", "*"):
        if not request.namespace and len(segments) > 1:
            raise NotFoundError(request.path)
        raise BadRequestError(
            "a namespace is required: an answer covers the pods of one namespace. Use /apis/"
            f"{request.group}/{request.version}/namespaces/NAMESPACE/"
            f"{printable('/'.join(segments))}, or kubectl get -n NAMESPACE instead of -A; an HPA "
            "asks in its own namespace"
        )


def parameters_of(query: str, watched: str) -> Mapping[str, str]:
    """The parameters of a query, after checking those of metav1.ListOptions that every API has.

    Args:
        query: as sent.
        watched: the qualified resource, for the message to a client that watches.

    Raises:
        BadRequestError: it is malformed.
        MethodNotAllowedError: it asks for a watch.
    """
    if not query:
        return {}
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
            f"watch is not supported on resources of kind {printable(watched)}: it has a "
            "value only at the time of the request"
        )
    for name in _NUMBERS:
        text = parameters.get(name, "")
        if text and not _INTEGER.fullmatch(text):
            raise BadRequestError(f'{name} is "{printable(text)}": it must be a whole number')
    return parameters
