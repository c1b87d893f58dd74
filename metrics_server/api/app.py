"""The HTTP side: paths to answers, errors to Status objects."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from urllib.parse import parse_qsl

import structlog
from aiohttp import hdrs, web

from metrics_server.api.discovery import Discovery, Document
from metrics_server.api.health import Endpoint, HealthChecks
from metrics_server.api.negotiation import Offer, negotiate
from metrics_server.api.openapi import OpenAPI
from metrics_server.api.requests import MAX_PARAMETERS, MetricsApi, metric_request
from metrics_server.api.status import Status, StatusDetails, failure, status_of
from metrics_server.api.types import encode
from metrics_server.common.weight import MAX_KEPT_CHARACTERS
from metrics_server.errors import (
    BadRequestError,
    ForbiddenError,
    MethodNotAllowedError,
    NotAcceptableError,
    NotFoundError,
    RequestError,
)
from metrics_server.http.connection import LimitedHandler
from metrics_server.http.reply import Reply
from metrics_server.http.server import LimitedServer
from metrics_server.telemetry.metrics import CONTENT_TYPE, Monitor
from metrics_server.telemetry.sparing import SparingLog

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_MAX_TAGS_LENGTH = 1024
_ENDPOINTS: tuple[Endpoint, ...] = ("healthz", "livez", "readyz")

log = structlog.stdlib.get_logger(__name__)


class App:
    """Answers every request of the API; a handler for an aiohttp web server.

    Each path is served with and without a trailing slash: kube-apiserver's aggregator turns a
    redirect into a 502.

    Args:
        admit: called with each request before it is answered; an error it raises is the answer.
        apis: answer requests for metrics, each for its group.
        discovery: the discovery documents.
        openapi: the OpenAPI documents.
        health: the health checks.
        monitor: the server's own metrics.
    """

    def __init__(
        self,
        *,
        admit: Callable[[web.BaseRequest], Awaitable[None]],
        apis: Iterable[MetricsApi],
        discovery: Discovery,
        openapi: OpenAPI,
        health: HealthChecks,
        monitor: Monitor,
    ) -> None:
        self._admit = admit
        self._apis: Mapping[tuple[str, str], MetricsApi] = {
            (api.group.name, version): api for api in apis for version in api.group.versions
        }
        self._health = health
        self._monitor = monitor
        self._log = SparingLog(log)
        plain = Offer()
        self._documents: Mapping[str, Mapping[Offer, Document]] = {
            "/apis": {
                plain: discovery.api_group_list,
                **{
                    Offer(kind="APIGroupDiscoveryList", group="apidiscovery.k8s.io", version=v): d
                    for v, d in discovery.api_group_discovery_list.items()
                },
            },
            **{f"/apis/{name}": {plain: d} for name, d in discovery.api_groups.items()},
            **{f"/apis/{name}": {plain: d} for name, d in discovery.api_resource_lists.items()},
            "/version": {plain: discovery.version},
            "/openapi/v2": {plain: openapi.v2},
            "/openapi/v3": {plain: openapi.v3_index},
            **{f"/openapi/v3/{path}": {plain: d} for path, d in openapi.v3.items()},
        }

    async def __call__(self, request: web.BaseRequest) -> Reply:
        """Answer a request, whatever happens."""
        try:
            await self._admit(request)
            return await self._answer(request)
        except ForbiddenError as error:
            details = StatusDetails(group=error.group, kind=error.resource)
            return _status_response(status_of(error, details))
        except RequestError as error:
            return _status_response(status_of(error))
        except Exception:  # noqa: BLE001 - it is logged, though sparingly
            self._log.exception(
                "internal error",
                peer=request.remote or "",
                path=request.path,
            )
            return _status_response(
                failure(500, "internal error of gpu-metrics-server: see its log")
            )

    async def _answer(self, request: web.BaseRequest) -> Reply:
        path = request.rel_url.raw_path
        if len(path) > 1 and path.endswith("/"):
            path = path[:-1]
        if path.startswith("/apis/"):
            query, accept = request.rel_url.raw_query_string, request.headers.get(hdrs.ACCEPT)
            is_short = len(path) + len(query) + len(accept or "") <= 3 * MAX_KEPT_CHARACTERS
            asked = (_known_metric_request if is_short else metric_request)(path, query, accept)
            if asked is not None and (api := self._apis.get((asked.group, asked.version))):
                _require_get(request)
                body, content_type = await api.answer(asked)
                return Reply(body, content_type)
        documents = self._documents.get(path)
        if documents is not None:
            _require_get(request)
            return _document(request, documents)
        endpoint, _, check = path[1:].partition("/")
        for name in _ENDPOINTS:
            if endpoint == name:
                _require_get(request)
                answer = self._health.answer(name, check, _pairs(request))
                return Reply(answer.text.encode(), _TEXT, status=answer.code)
        if path == "/metrics":
            _require_get(request)
            return Reply(self._monitor.exposition(), CONTENT_TYPE)
        raise NotFoundError(path)


# HPAs repeat the same requests.
_known_metric_request = lru_cache(maxsize=1024)(metric_request)


def _pairs(request: web.BaseRequest) -> list[tuple[str, str]]:
    query = request.rel_url.raw_query_string
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise BadRequestError(f"the query has more than {MAX_PARAMETERS} parameters") from None


def _require_get(request: web.BaseRequest) -> None:
    if request.method != hdrs.METH_GET:
        raise MethodNotAllowedError(f"{request.method} is not allowed: only GET is")


def _document(request: web.BaseRequest, documents: Mapping[Offer, Document]) -> Reply:
    accept = request.headers.get(hdrs.ACCEPT)
    offer = negotiate(accept, tuple(documents))
    if offer is None:
        raise NotAcceptableError(accept or "", [one.content_type for one in documents])
    document = documents[offer]
    headers = ((hdrs.ETAG, document.etag), (hdrs.VARY, hdrs.ACCEPT))
    if _is_known(request.headers.get(hdrs.IF_NONE_MATCH, ""), document):
        return Reply(status=304, headers=headers)
    return Reply(document.body, document.content_type, headers=headers)


def _is_known(tags: str, document: Document) -> bool:
    """Whether the client already has a document, by the entity tags it sends."""
    if len(tags) > _MAX_TAGS_LENGTH:
        return False
    known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
    return not known.isdisjoint((document.etag, "*"))


def _status_response(status: Status) -> Reply:
    # No Retry-After: the HPA's client would sleep and retry, blocking one of its workers.
    is_method = status.code == MethodNotAllowedError.code
    headers = ((hdrs.ALLOW, hdrs.METH_GET),) if is_method else ()
    return Reply(encode(status), _JSON, status=status.code, headers=headers)


class ApiRequestHandler(LimitedHandler):
    """One connection; even input that is not HTTP gets a Status, never a traceback."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Reply:
        """Answer a request that could not be parsed."""
        if exc is not None:
            # Its frames hold the exception itself, and with it the connection and the bytes.
            exc.__traceback__ = None
        # After the first colon, aiohttp continues with the bytes it could not parse.
        why = re.split(r":\s", message or repr(exc), maxsplit=1)[0]
        self.commons.log.info("request could not be parsed", peer=request.remote or "", error=why)
        response = _status_response(failure(status, f"the request could not be parsed: {why}"))
        response.force_close()
        return response


class ApiServer(LimitedServer):
    """A web server whose connections are ApiRequestHandlers."""

    handler_type = ApiRequestHandler
