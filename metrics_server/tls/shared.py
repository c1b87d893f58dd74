"""What replicas share through the Kubernetes API: a Secret, and the caBundle of the APIService."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal, Protocol

import msgspec
import structlog
from msgspec import Struct

from metrics_server.errors import KubernetesError
from metrics_server.tls.bundle import State
from metrics_server.tls.secret import KEYS, from_data, to_data

API_SERVICE = "v1beta1.external.metrics.k8s.io"

_API_SERVICE_PATH = f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}"
_SECONDS = 10.0

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
                f"{self._collection}/{self._name}", {}, timeout=_SECONDS
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
                timeout=_SECONDS,
            )
        log.info("certificate stored", secret=f"{self._namespace}/{self._name}")

    async def _create(self, made: Mapping[str, object]) -> None:
        """Create the Secret. The manifests create it too, so that this right is not needed."""
        try:
            await self._kubernetes.send("POST", self._collection, made, timeout=_SECONDS)
        except KubernetesError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            raise KubernetesError(
                f"there is no Secret {self._namespace}/{self._name}, and creating it is forbidden: "
                f"{error}; apply the manifests again, or run "
                f"`kubectl -n {self._namespace} create secret generic {self._name}`",
                error.code,
            ) from error


class _Meta(Struct, rename="camel"):
    resource_version: str


class _Service(Struct):
    namespace: str = ""
    name: str = ""


class _Spec(Struct):
    service: _Service | None = None
    bundle: bytes = msgspec.field(default=b"", name="caBundle")
    insecure: bool = msgspec.field(default=False, name="insecureSkipTLSVerify")


class _ApiService(Struct):
    metadata: _Meta
    spec: _Spec


class StoredBundle(Struct, frozen=True):
    """The caBundle as read.

    Attributes:
        version: the resourceVersion of the APIService.
        bundle: PEM; empty if there is none, or if insecureSkipTLSVerify is set.
    """

    version: str
    bundle: bytes


class SharedBundle:
    """The caBundle of the APIService, which kube-apiserver uses to verify every replica.

    Args:
        kubernetes: the client of the Kubernetes API.
        namespace: of the Service.
        service: the Service that the APIService must name; if it names another, it is not changed.
    """

    def __init__(self, kubernetes: Kubernetes, namespace: str, service: str) -> None:
        self._kubernetes = kubernetes
        self._service = _Service(namespace, service)

    async def read(self) -> StoredBundle:
        """Read the caBundle.

        Raises:
            KubernetesError: it cannot be read; with code 404 if there is no APIService, and with
                code 403 if it names another Service.
        """
        body = await self._kubernetes.get(_API_SERVICE_PATH, {}, timeout=_SECONDS)
        try:
            found = msgspec.json.decode(body, type=_ApiService)
        except (msgspec.DecodeError, ValueError) as error:
            raise KubernetesError(f"the APIService {API_SERVICE} is malformed: {error}") from error
        service = found.spec.service
        if service != self._service:
            named = "kube-apiserver itself" if service is None else _printed(service)
            raise KubernetesError(
                f"the APIService {API_SERVICE} names {named}, not {_printed(self._service)}, so "
                "its caBundle is not changed",
                HTTPStatus.FORBIDDEN,
            )
        bundle = b"" if found.spec.insecure else found.spec.bundle
        return StoredBundle(found.metadata.resource_version, bundle)

    async def write(self, before: StoredBundle, bundle: bytes) -> None:
        """Write a bundle into the APIService.

        Raises:
            KubernetesError: it cannot be written; with code 409 if it has changed since `before`.
        """
        patch = {
            "metadata": {"resourceVersion": before.version},
            # The API rejects a bundle together with insecureSkipTLSVerify.
            "spec": {"caBundle": bundle, "insecureSkipTLSVerify": None},
        }
        await self._kubernetes.send("PATCH", _API_SERVICE_PATH, patch, timeout=_SECONDS)
        log.info("CA bundle published", apiservice=API_SERVICE)


def _data(secret: Mapping[str, object]) -> dict[str, bytes]:
    return msgspec.convert(secret.get("data") or {}, dict[str, bytes])


def _printed(service: _Service) -> str:
    return f"the Service {service.namespace}/{service.name}"
