"""Every error that this product raises, as one tree.

MetricsServerError
├── ConfigurationError            a setting, a flag or a file is wrong: the server does not start
├── KubernetesError               the Kubernetes API refused or could not be reached
├── ScrapeError                   one exporter gave no usable page
├── QueryError                    a query to Prometheus has no usable result
└── RequestError                  a request gets this as its answer
    ├── BadRequestError           400: the question is malformed
    ├── UnauthorizedError, ForbiddenError          401, 403: the caller, or what the caller may do
    ├── TooManyReviewsError, ReviewError           429, 500: there is no decision about that
    ├── NotFoundError, MethodNotAllowedError, NotAcceptableError   404, 405, 406: as in HTTP
    ├── UnknownMetricError, CounterAskedError      404, 400: no rule has that name
    ├── UnknownObjectError, NoObjectError, ObjectUnreadableError   404, 404, 503: no object
    ├── PodsUnknownError          503: the pods are not known yet, or no longer
    ├── NoPodMatchesError, NoGpuRequestedError     404: no pods to measure
    ├── NoSeriesMatchesError, AmbiguousSeriesError   404, 400: no row, or several, for series/ keys
    ├── NoPodMeasurableError      503: the selected GPU pods are not Running, or not Ready
    └── MeasurementMissingError   503: no measurement of the pods; the only error with a fallback

A message is a sentence for a person: what happened, to what, and what to do. The message of a
RequestError reaches `kubectl describe hpa` word for word.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

from metrics_server.common.text import printable

MAX_MESSAGE = 700
"""Characters of a RequestError's message: an HPA's event has 1,024, and its own words before it."""

MAX_QUERY_MESSAGE = 450
"""Characters of a QueryError's message, so that it fits into that of a RequestError."""


class MetricsServerError(Exception):
    """The root of every error that this product raises on purpose."""


class ConfigurationError(MetricsServerError):
    """A setting, a flag or a file is wrong; the message lists every problem, one per line."""


class KubernetesError(MetricsServerError):
    """The Kubernetes API refused a call or could not be reached.

    Attributes:
        code: the HTTP status, or None where no answer came.
        retry_after: the Retry-After of the answer, in seconds; None without one.
    """

    def __init__(
        self, message: str, code: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class ScrapeError(MetricsServerError):
    """One exporter gave no usable page.

    Attributes:
        reason: a short fixed word for the metric's label, such as "timeout" or "http-status".
    """

    def __init__(self, message: str, reason: str) -> None:
        # Anything may answer at an exporter's address, and its words may be in the message.
        super().__init__(printable(message))
        self.reason = reason


# fmt: off
QueryReason = Literal[
    "bad-query", "credentials", "cut-short", "http-status", "limited", "not-a-vector", "not-found",
    "not-http", "not-json", "partial", "redirect", "timeout", "tls", "too-large", "unavailable",
    "unreachable",
]
# fmt: on
"""Why a query has no usable result: a label of the server's own metrics."""


class QueryError(MetricsServerError):
    """A query to Prometheus has no usable result.

    Attributes:
        reason: why.
    """

    def __init__(self, message: str, reason: QueryReason) -> None:
        super().__init__(printable(message, MAX_QUERY_MESSAGE))
        self.reason = reason


class RequestError(MetricsServerError):
    """A request gets this as its answer.

    Its message is one line of `MAX_MESSAGE` characters at most, whatever the caller sent. Each kind
    of error sets the attributes with the keywords of its class.

    Attributes:
        code: the HTTP status.
        reason: a short fixed word, for the metric that counts errors.
    """

    code: ClassVar[int] = 500
    reason: str = "internal"

    def __init_subclass__(cls, *, code: int, reason: str = "internal") -> None:
        cls.code, cls.reason = code, reason

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, MAX_MESSAGE))


class BadRequestError(RequestError, code=400, reason="bad-request"):
    """A selector, number or parameter is malformed, or beyond a [limit](#limits)."""


class UnauthorizedError(RequestError, code=401, reason="unauthorized"):
    """The credentials are not valid.

    The message is always this one word, as in Go servers; the log says what was wrong.
    """

    def __init__(self) -> None:
        super().__init__("Unauthorized")


class ForbiddenError(RequestError, code=403, reason="forbidden"):
    """The user may not do that.

    Attributes:
        group: the API group of the resource; "" where a path was asked for.
        resource: its name; "" likewise.
    """

    def __init__(self, message: str, *, group: str = "", resource: str = "") -> None:
        super().__init__(message)
        self.group = group
        self.resource = resource


class TooManyReviewsError(RequestError, code=429, reason="too-many-reviews"):
    """The caller sends too many new users, tokens or paths, each of which needs a review."""

    def __init__(self) -> None:
        super().__init__(
            "too many different requests or tokens at once: the Kubernetes API has to review each "
            "of them; send fewer"
        )


class ReviewError(RequestError, code=500, reason="review-failed"):
    """The Kubernetes API did not decide whether the request is allowed.

    Attributes:
        is_answer: whether it answered, but without a decision.
    """

    def __init__(self, message: str, *, is_answer: bool = False) -> None:
        super().__init__(message)
        self.is_answer = is_answer


class NotFoundError(RequestError, code=404, reason="not-found"):
    """Nothing is served at the path."""

    def __init__(self, path: str) -> None:
        super().__init__(f'nothing is served at "{printable(path, 300)}"; GET /apis lists what is')


class MethodNotAllowedError(RequestError, code=405, reason="method-not-allowed"):
    """The method, or a watch, is not offered."""


class NotAcceptableError(RequestError, code=406, reason="not-acceptable"):
    """No form that the client accepts is offered."""

    def __init__(self, accept: str, offered: Iterable[str]) -> None:
        super().__init__(
            f'"{printable(accept)}" matches none of the media types offered: {", ".join(offered)}'
        )


class UnknownMetricError(RequestError, code=404, reason="unknown-metric"):
    """No metric has that name; the message lists the nearest names, and all metrics."""


class CounterAskedError(RequestError, code=400, reason="counter-asked"):
    """It is a counter of an exporter; the message says what to ask for instead."""

    def __init__(self, metric: str, instead: str) -> None:
        super().__init__(
            f'"{printable(metric)}" is a counter: it only ever grows, and replicas scaled on it '
            f"would only grow with it; ask for {instead}"
        )


class UnknownObjectError(RequestError, code=404, reason="unknown-object"):
    """Metrics of that kind of object are not served; the message lists the kinds that are."""


class NoObjectError(RequestError, code=404, reason="no-object"):
    """The object of an Object metric does not exist, or it has no selector for pods."""


class ObjectUnreadableError(RequestError, code=503, reason="object-unreadable"):
    """The object of an Object metric, whose selector is needed, cannot be read."""


class PodsUnknownError(RequestError, code=503, reason="pods-unknown"):
    """The pods are not listed yet, or there was no news of them for three minutes."""


class NoPodMatchesError(RequestError, code=404, reason="no-pod-matches"):
    """No pod of the namespace matches the selector."""


class NoGpuRequestedError(RequestError, code=404, reason="no-gpu-requested"):
    """Pods match, but none requests a GPU; the message names what they request."""


class NoSeriesMatchesError(RequestError, code=404, reason="no-series-matches"):
    """No row of the selected pods matches the `series/` keys; the message says which exist."""


class AmbiguousSeriesError(RequestError, code=400, reason="ambiguous-series"):
    """The value of a `series/` key is the selector form of two different values on the pages."""


class NoPodMeasurableError(RequestError, code=503, reason="no-pod-measurable"):
    """GPU pods match, but none is Running and Ready, or all of those are terminating."""


class MeasurementMissingError(RequestError, code=503):
    """Too few of the pods have a measurement: the only error that a fallback may replace.

    Attributes:
        reason: which gap is the widest:
            "no-exporter": No exporter is ready on a node of the pods.
            "exporters-failed": Exporters gave no usable page; the message says which, and how.
            "no-page": It is not known where a pod's own page is, or it must not be read.
            "pages-failed": Pods gave no usable page of their own; the message says which, and how.
            "prometheus-failed": Prometheus gave no usable answer; the message says how.
            "no-sample": The pages were read, but have no value for the pods.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
