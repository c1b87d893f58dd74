"""The Kubernetes API as the tests' nodes use it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Literal

from metrics_server.errors import KubernetesError
from metrics_server.kube.client import KubernetesClient

_SECONDS = 10
_RETRY_SECONDS = 0.2


class PatientClient:
    """Retries while the API is down, as a kubelet does.

    Args:
        client: sends one request. This client raises its errors, except transient ones.
    """

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def get(self, path: str) -> bytes:
        """The response body of a GET."""
        return await _answer(lambda: self._client.get(path, {}, timeout=_SECONDS))

    async def send(
        self, method: Literal["POST", "PATCH", "DELETE"], path: str, body: Mapping[str, object]
    ) -> bytes:
        """The response body of a write."""
        return await _answer(lambda: self._client.send(method, path, body, timeout=_SECONDS))


async def _answer(ask: Callable[[], Awaitable[bytes]]) -> bytes:
    while True:
        try:
            return await ask()
        except KubernetesError as error:
            if error.code is not None and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
        await asyncio.sleep(_RETRY_SECONDS)
