"""Queries Prometheus: a vector, or an error with a readable message."""

import asyncio
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from weakref import WeakValueDictionary

from msgspec import Struct

from metrics_server import __version__
from metrics_server.common.text import printable
from metrics_server.errors import QueryError, ScrapeError
from metrics_server.http.client import HTTPClient, media_type
from metrics_server.http.exchange import DisconnectedError, InvalidHTTPError, TruncatedError
from metrics_server.http.sockets import why
from metrics_server.sources.pages.access import Access, AccessFiles, AccessKeeper
from metrics_server.sources.pages.room import PageRoom, Room
from metrics_server.sources.prometheus.encoding import encoded
from metrics_server.sources.prometheus.refusals import refusal
from metrics_server.sources.prometheus.vector import Series, Vector, decode, joined

__all__ = ["DEFAULT_PARAMETERS", "PrometheusClient", "PrometheusSettings", "Series", "Vector"]

DEFAULT_PARAMETERS: Mapping[str, str] = {
    # For Thanos and VictoriaMetrics: partial data would look complete.
    "partial_response": "false",
    "deny_partial_response": "1",
}
"""Parameters of each query, unless the settings have others of these names.

Prometheus ignores parameters that it does not know.
"""

# Longer than the HPA's period of 15 s, and shorter than proxies keep idle connections.
_KEEPALIVE_SECONDS = 30
# With some 40 labels of 30 characters.
_BYTES_PER_SERIES = 1600
_LEAST_BYTES = 1024 * 1024
# Bytes of an error: its message is at the beginning.
_MOST_ERROR_BYTES = 16 * 1024
# How many of the largest answers fit at a time, in addition to any number of ordinary ones.
_LARGEST_ANSWERS = 2
# Characters of a header's value, so that the rest of the message is visible too.
_MOST_SHOWN = 60


class PrometheusSettings(Struct, frozen=True):
    """How Prometheus is queried.

    Attributes:
        url: up to, and not including, /api/v1.
        timeout: how long a query may take, including the wait for its turn, in seconds.
        max_concurrency: how many queries are sent at once.
        max_series: how many series an answer may have.
        headers: more headers, such as X-Scope-OrgID.
        parameters: more parameters of each query, such as dedup.
        access: the files with the TLS settings and credentials.
    """

    url: str
    timeout: float = 5
    max_concurrency: int = 8
    max_series: int = 20_000
    headers: Mapping[str, str] = {}
    parameters: Mapping[str, str] = {}
    access: AccessFiles = AccessFiles(setting="prometheus")

    @property
    def max_bytes(self) -> int:
        """How many bytes an answer may have."""
        return _LEAST_BYTES + _BYTES_PER_SERIES * self.max_series


class PrometheusClient:
    """Sends instant queries. Create it in the event loop that uses it, and close it.

    A query that failed is not sent again: the HPA controller asks again anyway.

    Args:
        settings: how Prometheus is queried.
        keeper: the TLS settings and credentials; by default those in the files of the settings.
    """

    def __init__(self, settings: PrometheusSettings, keeper: AccessKeeper | None = None) -> None:
        self._settings = settings
        self._keeper = keeper or AccessKeeper(settings.access)
        self._url = f"{settings.url.rstrip('/')}/api/v1/query"
        self._form = {**DEFAULT_PARAMETERS, **settings.parameters}
        self._places = asyncio.Semaphore(settings.max_concurrency)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._room = Room(_LARGEST_ANSWERS * settings.max_bytes)
        self._client = HTTPClient(
            {
                "User-Agent": f"gpu-metrics-server/{__version__}",
                **settings.headers,
                "Accept": "application/json",
                # A compressed answer can grow without bounds when decompressed.
                "Accept-Encoding": "identity",
                "Content-Type": "application/x-www-form-urlencoded",
            },
            keepalive=_KEEPALIVE_SECONDS,
        )

    async def close(self) -> None:
        """Close every connection; queries that are under way fail."""
        await self._client.close()

    async def query(self, promql: str, *, time: float | None = None, of: str = "") -> Vector:
        """Evaluate a query at one moment.

        Args:
            promql: the query.
            time: the moment, in seconds since the epoch; None means Prometheus's own time.
            of: the namespace that it is about, which may not take all places; "" for none.

        Raises:
            QueryError: there is no usable result. Its message never contains a credential.
        """
        timeout = self._settings.timeout
        form = {**self._form, "query": promql, "timeout": f"{timeout:g}"}
        if time is not None:
            form["time"] = f"{time:.3f}"
        room = PageRoom(self._room)
        is_sent = False
        try:
            async with asyncio.timeout(timeout):
                body = await encoded(form)
                async with self._share(of), self._places:
                    is_sent = True
                    return await self._decoded(await self._post(body, room))
        except TimeoutError:
            if room.size:
                message = (
                    f"began to answer, but its answer was not complete after {timeout:g} s "
                    f"(prometheus.timeout; {room.size} bytes so far): it is slow, or the query "
                    "selects too much"
                )
            elif is_sent:
                message = (
                    f"did not answer within {timeout:g} s (prometheus.timeout): it is overloaded, "
                    "or the network does not reach it"
                )
            else:
                message = (
                    f"was not queried within {timeout:g} s, because {self._width(of)} other "
                    "queries were under way (prometheus.maxConcurrency)"
                )
            raise QueryError(f"Prometheus {message}", "timeout") from None
        finally:
            room.release()

    def _share(self, of: str) -> asyncio.Semaphore:
        share = self._shares.get(of)
        if share is None:
            share = self._shares[of] = asyncio.Semaphore(self._width(of))
        return share

    def _width(self, of: str) -> int:
        """Return how many places a namespace may have: its callers leave some to the others."""
        every = self._settings.max_concurrency
        return max(1, every * 3 // 4) if of else every

    async def _decoded(self, body: bytes | bytearray) -> Vector:
        parts: list[Vector] = []
        for part in decode(body, self._settings.max_series):
            parts.append(part)
            # Other tasks run between the parts of a long answer.
            await asyncio.sleep(0)
        return joined(parts)

    async def _post(self, form: bytes, room: PageRoom) -> bytes | bytearray:
        """Return the body of the answer, whose status is 200."""
        access = await self._access()
        receiver = _Receiver(self._settings, room)
        try:
            # A redirect is not followed: it could send the credentials anywhere.
            body = await self._client.exchange(
                self._url, receiver, tls=access.tls, headers=access.headers, body=form
            )
        except (TruncatedError, DisconnectedError):
            raise QueryError(
                "Prometheus closed the connection before its answer was complete; see its log, "
                "and that of a proxy in front of it",
                "cut-short",
            ) from None
        except InvalidHTTPError as error:
            raise QueryError(
                f"the server at prometheus.url did not send valid HTTP: {error}", "not-http"
            ) from None
        except TimeoutError:
            raise  # an OSError, but not a connection error
        except (OSError, ValueError) as error:
            raise _unreachable(error) from None
        if receiver.status == HTTPStatus.UNAUTHORIZED:
            self._keeper.refused()
        if receiver.status != HTTPStatus.OK:
            said = bytes(body[:_MOST_ERROR_BYTES]) if receiver.is_plain else b""
            raise refusal(receiver.status, receiver.kind, _without(said, access))
        return body

    async def _access(self) -> Access:
        try:
            access = await self._keeper.current()
        except ScrapeError as error:
            _, _, problem = str(error).partition(": ")
            raise QueryError(f"Prometheus was not queried: {problem}", "credentials") from None
        if access.headers and not access.allow_http and not self._url.lower().startswith("https:"):
            raise QueryError(
                "Prometheus was not queried: prometheus.auth would be sent in the clear; use "
                "https in prometheus.url",
                "credentials",
            )
        return access


class _Receiver:
    """Receives an answer within its limits, or the beginning of an error.

    Attributes:
        status: the status.
        kind: the content type. Go's own errors have none.
        is_plain: whether the body is not compressed.
    """

    def __init__(self, settings: PrometheusSettings, room: PageRoom) -> None:
        self.status = 0
        self.kind = ""
        self._max_bytes = settings.max_bytes
        self._room = room
        self.is_plain = True

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Check the head of an answer."""
        self.status = status
        self.kind = headers.get("content-type", "text/plain")
        encoding = headers.get("content-encoding", "identity")
        self.is_plain = encoding.lower() == "identity"
        if status != HTTPStatus.OK:
            return
        kind = media_type(headers)
        if kind != "application/json":
            raise QueryError(
                f"the server at prometheus.url sent {printable(kind, _MOST_SHOWN)}, not JSON: is "
                "it Prometheus, or a login page or a proxy in front of it?",
                "not-json",
            )
        if not self.is_plain:
            raise QueryError(
                f"Prometheus sent a compressed answer ({printable(encoding, _MOST_SHOWN)}), which "
                "was not asked for; a proxy in front of it must respect Accept-Encoding: identity",
                "not-json",
            )

    def grow(self, size: int) -> bool:
        """Check the size of the body so far."""
        if self.status != HTTPStatus.OK:
            return self.is_plain and size <= _MOST_ERROR_BYTES
        if size > self._max_bytes:
            raise QueryError(
                f"Prometheus sent more than the {self._max_bytes} bytes that "
                "prometheus.maxSeries allows; select less, or aggregate in the query",
                "too-large",
            )
        if not self._room.grow(size):
            raise QueryError(
                "Prometheus sent a long answer while others took all the memory for long "
                "answers; lower prometheus.maxConcurrency, or aggregate in the queries",
                "too-large",
            )
        return True


def _unreachable(error: Exception) -> QueryError:
    if isinstance(error, ssl.SSLError):
        return QueryError(
            f"no TLS connection to Prometheus: {why(error)}; check prometheus.tls, and whether "
            "prometheus.url must be http or https",
            "tls",
        )
    return QueryError(
        f"Prometheus could not be reached: {why(error)}; check prometheus.url, and that it runs",
        "unreachable",
    )


def _without(said: bytes, access: Access) -> bytes:
    """Return what was said without the credentials, which a server may repeat."""
    for value in access.headers.values():
        secret = value.partition(" ")[2].encode("ascii")
        if secret:
            said = said.replace(secret, b"(credentials)")
    return said
