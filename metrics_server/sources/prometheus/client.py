"""Queries Prometheus: a vector, or an error with a readable message."""

import asyncio
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlencode
from weakref import WeakValueDictionary

import aiohttp
from aiohttp import hdrs
from msgspec import Struct

from metrics_server import __version__
from metrics_server.common.text import printable
from metrics_server.errors import QueryError, ScrapeError
from metrics_server.http.sockets import why
from metrics_server.sources.pages.access import Access, AccessFiles, AccessKeeper
from metrics_server.sources.pages.connection import BoundedConnector
from metrics_server.sources.pages.room import PageRoom, Room
from metrics_server.sources.prometheus.refusals import refusal
from metrics_server.sources.prometheus.vector import Series, Vector, decode, joined

__all__ = ["DEFAULT_PARAMETERS", "PrometheusClient", "PrometheusSettings", "Series", "Vector"]

DEFAULT_PARAMETERS: Mapping[str, str] = {
    # Of Thanos, and of VictoriaMetrics: a part of the data would pass for all of it.
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
# Of an error: its words are in the beginning.
_MOST_ERROR_BYTES = 16 * 1024
# How many of the largest answers fit at a time, in addition to any number of ordinary ones.
_LARGEST_ANSWERS = 2
# Of a header's value, so that the rest of the message is visible too.
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

    A query is sent once: the HPA controller asks again by itself.

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
        self._session = aiohttp.ClientSession(
            connector=BoundedConnector(keepalive=_KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The deadline of a query covers everything.
            timeout=aiohttp.ClientTimeout(),
            # A compressed answer can grow without bounds when decompressed.
            auto_decompress=False,
            headers={
                hdrs.USER_AGENT: f"gpu-metrics-server/{__version__}",
                **settings.headers,
                hdrs.ACCEPT: "application/json",
                hdrs.ACCEPT_ENCODING: "identity",
                hdrs.CONTENT_TYPE: "application/x-www-form-urlencoded",
            },
        )

    async def close(self) -> None:
        """Close every connection; queries that are under way fail."""
        await self._session.close()

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
        body = urlencode(form).encode("ascii")
        room = PageRoom(self._room)
        is_sent = False
        try:
            async with asyncio.timeout(timeout), self._share(of), self._places:
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

    async def _decoded(self, body: bytearray) -> Vector:
        parts: list[Vector] = []
        for part in decode(body, self._settings.max_series):
            parts.append(part)
            # Others have their turn between the parts of a long answer.
            await asyncio.sleep(0)
        return joined(parts)

    async def _post(self, body: bytes, room: PageRoom) -> bytearray:
        """Return the body of the answer, whose status is 200."""
        access = await self._access()
        try:
            return await self._answer(body, access, room)
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
            raise QueryError(
                "Prometheus closed the connection before its answer was complete; see its log, "
                "and that of a proxy in front of it",
                "cut-short",
            ) from None
        except aiohttp.ClientResponseError as error:
            brief = " ".join(error.message.split()).rstrip(" ^:")
            raise QueryError(
                f"what answers at prometheus.url did not send valid HTTP: {brief}", "not-http"
            ) from None
        except TimeoutError:
            raise  # an OSError, but not a connection error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreachable(error) from None

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

    async def _answer(self, body: bytes, access: Access, room: PageRoom) -> bytearray:
        # A redirect is not followed: it could send the credentials anywhere.
        async with self._session.post(
            self._url,
            data=body,
            allow_redirects=False,
            ssl=access.context,
            server_hostname=access.server_name,
            headers=access.headers,
        ) as response:
            if response.status == HTTPStatus.UNAUTHORIZED:
                self._keeper.refused()
            encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity")
            if response.status != HTTPStatus.OK:
                is_plain = encoding.lower() == "identity"
                said = await _beginning(response.content) if is_plain else b""
                # Go's own errors have no type.
                kind = response.headers.get(hdrs.CONTENT_TYPE, "text/plain")
                raise refusal(response.status, kind, _without(said, access))
            if response.content_type != "application/json":
                kind = printable(response.content_type, _MOST_SHOWN)
                raise QueryError(
                    f"what answers at prometheus.url sent {kind}, not JSON: is it Prometheus, or "
                    "a login page or a proxy in front of it?",
                    "not-json",
                )
            if encoding.lower() != "identity":
                kind = printable(encoding, _MOST_SHOWN)
                raise QueryError(
                    f"Prometheus sent a compressed answer ({kind}), which was not asked for; a "
                    "proxy in front of it must respect Accept-Encoding: identity",
                    "not-json",
                )
            return await self._read(response.content, room)

    async def _read(self, content: aiohttp.StreamReader, room: PageRoom) -> bytearray:
        body = bytearray()
        async for chunk in content.iter_any():
            body += chunk
            if len(body) > self._settings.max_bytes:
                raise QueryError(
                    f"Prometheus sent more than the {self._settings.max_bytes} bytes that "
                    "prometheus.maxSeries allows; select less, or aggregate in the query",
                    "too-large",
                )
            if not room.grow(len(body)):
                raise QueryError(
                    "Prometheus sent a long answer while others took all the memory for long "
                    "answers; lower prometheus.maxConcurrency, or aggregate in the queries",
                    "too-large",
                )
        # Not copied, which takes 1 ms for each MiB.
        return body


def _unreachable(error: Exception) -> QueryError:
    # After the handshake, an alert is the cause of another error.
    if isinstance(error, aiohttp.ClientSSLError) or isinstance(error.__cause__, ssl.SSLError):
        return QueryError(
            f"no TLS connection to Prometheus: {why(error)}; check prometheus.tls, and whether "
            "prometheus.url must be http or https",
            "tls",
        )
    return QueryError(
        f"Prometheus could not be reached: {why(error)}; check prometheus.url, and that it runs",
        "unreachable",
    )


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Return the beginning of an error."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _MOST_ERROR_BYTES:
            break
    return bytes(body[:_MOST_ERROR_BYTES])


def _without(said: bytes, access: Access) -> bytes:
    """Return what was said without the credentials, which a server may repeat."""
    for value in access.headers.values():
        secret = value.partition(" ")[2].encode("ascii")
        if secret:
            said = said.replace(secret, b"(credentials)")
    return said
