"""Forwards requests to pods, as `GET /api/v1/namespaces/NS/pods/[https:]NAME:PORT/proxy/PATH` does.

Like kube-apiserver, it does not verify a pod's certificate, and does not pass credentials on.
"""

import os
from typing import Self

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from metrics_server.simulator.kube.objects import PODS, Object, ObjectStore
from metrics_server.simulator.kube.statuses import StatusDetails, StatusError


class PodProxy:
    """The proxy subresource of pods; an async context manager.

    Args:
        store: the pods.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def forward(
        self, request: web.Request, namespace: str, target: str, path: str
    ) -> web.Response:
        """Return the pod's answer.

        Args:
            request: the request.
            namespace: of the pod.
            target: the pod as in the path: its name, with a scheme before it and a port after it.
            path: the path at the pod, without the first slash.

        Raises:
            StatusError: there is no such pod, or it does not answer.
        """
        scheme, name, port = _parts(target)
        pod = self._store.get(PODS, namespace, name)
        if pod is None:
            details = StatusDetails(name=name, kind="pods")
            raise StatusError(404, f'pods "{name}" not found', details)
        url = URL(f"{scheme}://{_address(pod)}:{port}/{path}").with_query(request.query_string)
        headers = {hdrs.ACCEPT: request.headers.get(hdrs.ACCEPT, "*/*")}
        try:
            async with self._session.get(
                url, headers=headers, ssl=False, allow_redirects=False
            ) as response:
                body = await response.read()
                kept = {hdrs.CONTENT_TYPE: response.headers.get(hdrs.CONTENT_TYPE, "text/plain")}
                return web.Response(status=response.status, body=body, headers=kept)
        except aiohttp.ClientError as error:
            raise StatusError(503, not_reached(error)) from error


def not_reached(error: aiohttp.ClientError) -> str:
    """Return what kube-apiserver says about a connection that failed."""
    text = str(error)
    if type(error) is aiohttp.ClientConnectorError:
        why = os.strerror(error.os_error.errno or 0).lower()
        text = f"dial tcp {error.host}:{error.port}: connect: {why}"
    return f"error trying to reach service: {text}"


def _parts(target: str) -> tuple[str, str, str]:
    """Return the scheme, name and port of a target; 80 if it names no port."""
    match target.split(":"):
        case [name]:
            return "http", name, "80"
        case [name, port]:
            return "http", name, port
        case [scheme, name, port] if scheme in ("", "http", "https"):
            return scheme or "http", name, port
    raise StatusError(400, f'invalid pod request "{target}"')


def _address(pod: Object) -> str:
    status = pod.get("status")
    address = status.get("podIP") if isinstance(status, dict) else None
    if not address:
        raise StatusError(503, "address not allowed")
    return str(address)
