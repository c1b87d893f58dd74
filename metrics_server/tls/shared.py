"""The Secret that replicas share through the Kubernetes API."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal, Protocol

import msgspec
import structlog
from msgspec import Struct

from metrics_server.errors import KubernetesError
from metrics_server.tls.bundle import State
from metrics_server.tls.secret import KEYS, from_data, to_data

REQUEST_SECONDS = 10.0
"""How long a request to the Kubernetes API may take."""

log = structlog.stdlib.get_logger(__name__)


class Kubernetes(Protocol):
    """The methods of `kube.client.KubernetesClient` that are needed here."""

    async def get(self, path: str, query: Mapping[str, str], *, timeout: float) -> bytes:  # noqa: ASYNC109 - as in the client
        """Return the body of the answer to a GET, or raise a KubernetesError."""
        ...

    async def send(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Struct | Mapping[str, object],
        *,
        timeout: float,  # noqa: ASYNC109 - as for `get`
    ) -> bytes:
        """Return the body of the answer to a write, or raise a KubernetesError."""
        ...


class StoredSecret(Struct, frozen=True):
    """The Secret as read.

    Attributes:
        object: the whole object, from JSON; None if there is no Secret.
        state: the state in it; None without one.
    """

    object: Mapping[str, object] | None
    state: State | None


class SharedSecret:
    """The Secret with the `State`.

    Args:
        kubernetes: the client of the Kubernetes API.
        namespace: its namespace.
        name: its name.
    """

    def __init__(self, kubernetes: Kubernetes, namespace: str, name: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._name = name
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"

    async def read(self) -> StoredSecret:
        """Read the Secret.

        Raises:
            KubernetesError: it cannot be read, or it contains something else.
        """
        try:
            body = await self._kubernetes.get(
                f"{self._collection}/{self._name}", {}, timeout=REQUEST_SECONDS
            )
        except KubernetesError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return StoredSecret(None, None)
            raise
        try:
            stored = msgspec.json.decode(body, type=dict[str, object])
            return StoredSecret(stored, from_data(_data(stored)))
        except (msgspec.DecodeError, ValueError) as error:
            raise KubernetesError(
                f"the Secret {self._namespace}/{self._name} was not written by this server: "
                f"{error}; to have it replaced, run "
                f"`kubectl -n {self._namespace} patch secret {self._name} --type=merge "
                """-p '{"data":null}'`"""
            ) from error

    async def write(self, before: StoredSecret, state: State) -> None:
        """Write a state into the Secret.

        Raises:
            KubernetesError: it cannot be written; with code 409 if it has changed since `before`.
        """
        if before.object is None:
            made = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "data": to_data(state),
            }
            await self._create(made)
        else:
            kept = {key: value for key, value in _data(before.object).items() if key not in KEYS}
            await self._kubernetes.send(
                "PUT",
                f"{self._collection}/{self._name}",
                {**before.object, "data": {**kept, **to_data(state)}},
                timeout=REQUEST_SECONDS,
            )
        log.info("certificate stored", secret=f"{self._namespace}/{self._name}")

    async def _create(self, made: Mapping[str, object]) -> None:
        """Create the Secret. The manifests create it too, so that this right is not needed."""
        try:
            await self._kubernetes.send("POST", self._collection, made, timeout=REQUEST_SECONDS)
        except KubernetesError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            raise KubernetesError(
                f"there is no Secret {self._namespace}/{self._name}, and creating it is forbidden: "
                f"{error}; apply the manifests again, or run "
                f"`kubectl -n {self._namespace} create secret generic {self._name}`",
                error.code,
            ) from error


def _data(secret: Mapping[str, object]) -> dict[str, bytes]:
    return msgspec.convert(secret.get("data") or {}, dict[str, bytes])
