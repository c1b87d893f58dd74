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
    """Of `kube.client.KubernetesClient`, what is needed here."""

    async def get(self, path: str, query: Mapping[str, str], *, timeout: float) -> bytes:  # noqa: ASYNC109 - it is that of the client
        """The body of the answer to a GET; a KubernetesError where there is none."""
        ...

    async def send(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Struct | Mapping[str, object],
        *,
        timeout: float,  # noqa: ASYNC109 - as for `get`
    ) -> bytes:
        """The body of the answer to a write; a KubernetesError where there is none."""
        ...


class StoredSecret(Struct, frozen=True):
    """The Secret as it was read.

    Attributes:
        object: all of it, as JSON has it; None where there is none.
        state: what is in it; None where there is nothing.
    """

    object: Mapping[str, object] | None
    state: State | None


class SharedSecret:
    """The Secret that holds a `State`.

    Args:
        kubernetes: the door to the Kubernetes API.
        namespace: where it is.
        name: its name.
    """

    def __init__(self, kubernetes: Kubernetes, namespace: str, name: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._name = name
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"

    async def read(self) -> StoredSecret:
        """The Secret as it is now.

        Raises:
            KubernetesError: it cannot be read, or it holds something else.
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
                f"the Secret {self._namespace}/{self._name} is no certificate of ours: {error}; "
                f"`kubectl -n {self._namespace} patch secret {self._name} --type=merge "
                """-p '{"data":null}'` lets another be made"""
            ) from error

    async def write(self, before: StoredSecret, state: State) -> None:
        """Put a state into the Secret.

        Raises:
            KubernetesError: it cannot be written; with code 409 if it is not as it was before.
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
        log.info("shared a certificate", secret=f"{self._namespace}/{self._name}")

    async def _create(self, made: Mapping[str, object]) -> None:
        """Make the Secret, where nobody has. The manifests do, so that this right is not needed."""
        try:
            await self._kubernetes.send("POST", self._collection, made, timeout=_SECONDS)
        except KubernetesError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            raise KubernetesError(
                f"there is no Secret {self._namespace}/{self._name}, and it may not be made: "
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
    """The caBundle as it was read.

    Attributes:
        version: the resourceVersion of the APIService.
        bundle: PEM; empty where there is none, or where clients are told not to verify.
    """

    version: str
    bundle: bytes


class SharedBundle:
    """The caBundle of the APIService, which kube-apiserver verifies every replica by.

    Args:
        kubernetes: the door to the Kubernetes API.
        namespace: of the Service.
        service: the Service that the APIService must name; another's bundle is not touched.
    """

    def __init__(self, kubernetes: Kubernetes, namespace: str, service: str) -> None:
        self._kubernetes = kubernetes
        self._service = _Service(namespace, service)

    async def read(self) -> StoredBundle:
        """The caBundle as it is now.

        Raises:
            KubernetesError: it cannot be read; with code 404 where there is no APIService, and
                with code 403 where it is another's.
        """
        body = await self._kubernetes.get(_API_SERVICE_PATH, {}, timeout=_SECONDS)
        try:
            found = msgspec.json.decode(body, type=_ApiService)
        except (msgspec.DecodeError, ValueError) as error:
            raise KubernetesError(f"the APIService {API_SERVICE} is none: {error}") from error
        service = found.spec.service
        if service != self._service:
            whose = "kube-apiserver itself" if service is None else _told(service)
            raise KubernetesError(
                f"the APIService {API_SERVICE} names {whose}, not {_told(self._service)}: "
                "its caBundle is not ours to write",
                HTTPStatus.FORBIDDEN,
            )
        bundle = b"" if found.spec.insecure else found.spec.bundle
        return StoredBundle(found.metadata.resource_version, bundle)

    async def write(self, before: StoredBundle, bundle: bytes) -> None:
        """Put a bundle into the APIService.

        Raises:
            KubernetesError: it cannot be written; with code 409 if it is not as it was before.
        """
        patch = {
            "metadata": {"resourceVersion": before.version},
            # The API takes no bundle beside a wish not to verify.
            "spec": {"caBundle": bundle, "insecureSkipTLSVerify": None},
        }
        await self._kubernetes.send("PATCH", _API_SERVICE_PATH, patch, timeout=_SECONDS)
        log.info("published the bundle of authorities", apiservice=API_SERVICE)


def _data(secret: Mapping[str, object]) -> dict[str, bytes]:
    return msgspec.convert(secret.get("data") or {}, dict[str, bytes])


def _told(service: _Service) -> str:
    return f"the Service {service.namespace}/{service.name}"
