"""The meaning of HTTP statuses other than 200, in words."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.errors import QueryError, QueryReason

_MOST_WORDS = 200


class _Failure(Struct):
    errorType: str = ""  # noqa: N815 - as it is on the wire
    error: str = ""


class _Meaning(Struct, frozen=True):
    """What happened, and what to do; and the reason of the error."""

    happened: str
    remedy: str
    reason: QueryReason


_MEANINGS: Mapping[int, _Meaning] = {
    HTTPStatus.UNAUTHORIZED: _Meaning(
        "did not accept the credentials",
        "check prometheus.auth, prometheus.tls and prometheus.headers",
        "credentials",
    ),
    HTTPStatus.FORBIDDEN: _Meaning(
        "does not allow the query",
        "check the rights of the user in prometheus.auth, and prometheus.headers",
        "credentials",
    ),
    HTTPStatus.NOT_FOUND: _Meaning(
        "has no query API at prometheus.url",
        "the URL must include the path before /api/v1, such as /prometheus",
        "not-found",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: _Meaning(
        "rejects queries because there are too many",
        "raise its limit, or lower prometheus.maxConcurrency",
        "limited",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: _Meaning(
        "is not available",
        "it is starting or overloaded, or a proxy in front of it finds no server; see its log",
        "unavailable",
    ),
}
_REDIRECT = _Meaning(
    "answered with a redirect, which is not followed",
    "set prometheus.url to the final address; if a login page is in front of it, set "
    "prometheus.auth",
    "redirect",
)
_BAD_QUERY = _Meaning("rejected the query", "run it in Prometheus itself to see why", "bad-query")
_TIMEOUT = _Meaning(
    "gave up on the query",
    "raise prometheus.timeout and Prometheus's own --query.timeout, or select less",
    "timeout",
)
_FAILED = _Meaning("failed, or a proxy in front of it", "see its log", "http-status")
_OTHER = _Meaning("did not answer the query", "check prometheus.url", "http-status")

_FAILURE = msgspec.json.Decoder(_Failure)


def refusal(status: int, content_type: str, body: bytes) -> QueryError:
    """Return what went wrong, in Prometheus's own words where it sent any.

    Args:
        status: the HTTP status.
        content_type: the type of the body.
        body: the body, or the beginning of a long one.
    """
    failure = _failure(body)
    if failure is None and content_type.startswith("text/plain"):
        failure = _Failure(error=body.decode("utf-8", "replace").strip().partition("\n")[0])
    kind = failure.errorType if failure else ""
    words = ": ".join(filter(None, (failure.errorType, failure.error))) if failure else ""
    words = printable(words, _MOST_WORDS)
    said = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    meaning = _meaning(status, kind)
    return QueryError(f"Prometheus {meaning.happened} ({said}); {meaning.remedy}", meaning.reason)


def _failure(body: bytes) -> _Failure | None:
    try:
        failure = _FAILURE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return failure if failure.error or failure.errorType else None


def _meaning(status: int, kind: str) -> _Meaning:
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return _REDIRECT
    # Without a kind, it was not Prometheus that rejected it.
    if kind and status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
        return _BAD_QUERY
    if kind == "timeout" and status == HTTPStatus.SERVICE_UNAVAILABLE:
        return _TIMEOUT
    default = _FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _OTHER
    return _MEANINGS.get(status, default)
