"""Clients of a server over TLS, and its answers."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import ClientSession, TCPConnector, hdrs, web
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from metrics_server.api.status import Status
from metrics_server.api.types import GROUP_VERSION, ExternalMetricValue, ExternalMetricValueList
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.certificates import client_context
from tests.support.waiting import PATIENCE_SECONDS

Headers = Mapping[str, str] | Sequence[tuple[str, str]]


class Answer(Struct, frozen=True):
    """A server's answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> dict[str, object]:
        """The body, which must be a JSON object."""
        return msgspec.json.decode(self.body, type=dict[str, object])

    def error(self) -> Status:
        """The Status of an error, in the form that every error must have."""
        assert self.headers[hdrs.CONTENT_TYPE] == "application/json"
        # On a Retry-After the HPA's client sleeps and retries, blocking one of its workers.
        assert hdrs.RETRY_AFTER not in self.headers
        status = msgspec.json.decode(self.body, type=Status)
        assert (status.kind, status.api_version, status.status) == ("Status", "v1", "Failure")
        assert status.code == self.status
        assert status.message
        assert "Traceback" not in self.text
        return status

    def item(self) -> ExternalMetricValue:
        """The only item of a metric's answer: the HPA adds up all items."""
        assert self.status == web.HTTPOk.status_code, self.text
        assert self.headers[hdrs.CONTENT_TYPE] == "application/json"
        values = msgspec.json.decode(self.body, type=ExternalMetricValueList)
        assert (values.kind, values.api_version) == ("ExternalMetricValueList", GROUP_VERSION)
        (item,) = values.items
        return item


class Client:
    """Sends requests to a server over TLS; an asynchronous context manager.

    Args:
        url: the server's URL.
        bundle: the authority that verifies the server's certificate, PEM.
        pair: the client's own certificate and key; None if it has none.
    """

    def __init__(self, url: str, bundle: bytes, pair: KeyPair | None = None) -> None:
        self.url = URL(url)
        self._bundle = bundle
        self._pair = pair

    async def __aenter__(self) -> Self:
        self._context = await asyncio.to_thread(client_context, self._bundle, self._pair)
        self._session = ClientSession(
            connector=TCPConnector(ssl=self._context, force_close=True),
            skip_auto_headers=(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, target: str, headers: Headers = (), method: str = hdrs.METH_GET) -> Answer:
        """The answer to a request.

        Args:
            target: the path and the query, sent unchanged.
            headers: all headers except Host; names may repeat.
            method: the HTTP method.
        """
        url = URL(f"{self.url.origin()}{target}", encoded=True)
        async with self._session.request(
            method, url, headers=CIMultiDict(headers), allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def metric(self, namespace: str, metric: str, selector: str = "") -> Answer:
        """The answer to the HPA controller's request for a metric."""
        target = f"/apis/{GROUP_VERSION}/namespaces/{quote(namespace)}/{quote(metric)}"
        query = f"?{urlencode({'labelSelector': selector})}" if selector else ""
        return await self.ask(
            target + query, {hdrs.ACCEPT: "application/vnd.kubernetes.protobuf, */*"}
        )

    async def send(self, data: bytes) -> bytes:
        """Everything received on a connection on which exactly these bytes are sent."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(
                self.url.host, self.url.port, ssl=self._context
            )
            try:
                writer.write(data)
                return await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()
