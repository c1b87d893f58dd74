"""Forwards requests to the metrics server, as kube-apiserver's aggregator does."""

import asyncio
from typing import Self

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from metrics_server.simulator.kube.pod_proxy import not_reached
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.certificates import client_context

_PASSED_ON = (hdrs.CONTENT_TYPE, hdrs.CONTENT_ENCODING, hdrs.ETAG, hdrs.VARY)


class FrontProxy:
    """An aggregator in front of one API server; an asynchronous context manager.

    Args:
        url: the URL of the API server.
        bundle: the CAs to verify its certificate with, PEM, like an APIService's caBundle.
        pair: the front proxy's client certificate; None to present none.
    """

    def __init__(self, url: str, bundle: bytes, pair: KeyPair | None = None) -> None:
        self._url = url
        self._bundle = bundle
        self._pair = pair

    async def __aenter__(self) -> Self:
        context = await asyncio.to_thread(client_context, self._bundle, self._pair)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context), auto_decompress=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def __call__(self, request: web.Request) -> web.Response:
        """Return the API server's answer, or a 503 if there is none."""
        headers = {
            hdrs.ACCEPT: ", ".join(request.headers.getall(hdrs.ACCEPT, ["*/*"])),
            hdrs.ACCEPT_ENCODING: request.headers.get(hdrs.ACCEPT_ENCODING, "identity"),
            "X-Remote-User": "demo",
            "X-Remote-Group": "system:authenticated",
        }
        try:
            async with self._session.request(
                request.method,
                # Unchanged: decoding a path or a query could change its meaning.
                URL(self._url + request.raw_path, encoded=True),
                headers=headers,
                allow_redirects=False,
            ) as response:
                kept = {n: response.headers[n] for n in _PASSED_ON if n in response.headers}
                body = await response.read()
                return web.Response(body=body, status=response.status, headers=kept)
        except aiohttp.ClientError as error:
            return web.Response(status=503, text=not_reached(error))
