"""The caBundle of an APIService, which kube-apiserver uses to verify every replica."""

from http import HTTPStatus

import msgspec
from msgspec import Struct

from metrics_server.errors import KubernetesError
from metrics_server.kube.events import Regarding
from metrics_server.tls.places import Meta, NoPlaceError, StoredBundle, Writer, writer_of
from metrics_server.tls.shared import REQUEST_SECONDS, Kubernetes

EXTERNAL_METRICS = "v1beta1.external.metrics.k8s.io"
CUSTOM_METRICS = "v1beta2.custom.metrics.k8s.io"

_SETTINGS = {EXTERNAL_METRICS: "externalMetrics: false", CUSTOM_METRICS: "customMetrics: false"}
_COLLECTION = "/apis/apiregistration.k8s.io/v1/apiservices"
_FIELD = ("f:spec", "f:caBundle")


class _Service(Struct, frozen=True):
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"the Service {self.namespace}/{self.name}"


class _Spec(Struct):
    service: _Service | None = None
    bundle: bytes = msgspec.field(default=b"", name="caBundle")
    insecure: bool = msgspec.field(default=False, name="insecureSkipTLSVerify")


class _ApiService(Struct):
    metadata: Meta
    spec: _Spec


class ApiServiceBundle:
    """The caBundle of one APIService, a `BundlePlace`.

    Args:
        kubernetes: the client of the Kubernetes API.
        api_service: its name, `EXTERNAL_METRICS` or `CUSTOM_METRICS`.
        namespace: of the Service.
        service: the Service that the APIService must name; if it names another, it is not changed.
    """

    def __init__(
        self, kubernetes: Kubernetes, api_service: str, namespace: str, service: str
    ) -> None:
        self.name = f"the caBundle of the APIService {api_service}"
        self.log_values = {"apiservice": api_service}
        self._kubernetes = kubernetes
        self._api_service = api_service
        self._turn_off = f"set `{_SETTINGS[api_service]}`"
        self._path = f"{_COLLECTION}/{api_service}"
        self._service = _Service(namespace, service)

    async def read(self) -> StoredBundle:
        """Read the caBundle, as in `BundlePlace`."""
        try:
            body = await self._kubernetes.get(self._path, {}, timeout=REQUEST_SECONDS)
        except KubernetesError as error:
            raise self._explained(error, "read") from error
        try:
            found = msgspec.json.decode(body, type=_ApiService)
        except (msgspec.DecodeError, ValueError) as error:
            raise KubernetesError(
                f"the APIService {self._api_service} is malformed: {error}"
            ) from error
        if found.spec.service != self._service:
            named = found.spec.service or "kube-apiserver itself"
            raise NoPlaceError(
                f"the APIService {self._api_service} names {named}, not {self._service}, so its "
                f"caBundle is not changed; {self._turn_off} if another server serves this API, "
                "else apply the manifests again"
            )
        return StoredBundle(
            b"" if found.spec.insecure else found.spec.bundle,
            {"metadata": {"resourceVersion": found.metadata.resource_version}},
            Regarding(
                "apiregistration.k8s.io/v1",
                "APIService",
                self._api_service,
                uid=found.metadata.uid,
            ),
            writer_of(found.metadata, _FIELD),
        )

    async def write(self, before: StoredBundle, bundle: bytes) -> None:
        """Write the caBundle, as in `BundlePlace`."""
        # The API rejects a bundle together with insecureSkipTLSVerify.
        spec = {"caBundle": bundle, "insecureSkipTLSVerify": None}
        patch = {**(before.object or {}), "spec": spec}
        try:
            await self._kubernetes.send("PATCH", self._path, patch, timeout=REQUEST_SECONDS)
        except KubernetesError as error:
            raise self._explained(error, "written") from error

    def advice(self, writer: Writer) -> str:
        """Return what follows from another writer, and what to do, as in `BundlePlace`."""
        effect = "so kube-apiserver cannot verify gpu-metrics-server, and HPAs get no values"
        if "cainjector" in writer.name:
            return (
                f"{effect}; remove the annotations cert-manager.io/inject-ca-from and "
                "inject-ca-from-secret from the APIService, or let cert-manager issue the serving "
                "certificate as well: --cert-dir instead of --self-managed-certs"
            )
        if self._api_service != EXTERNAL_METRICS:
            return f"{effect}; stop that writer, or {self._turn_off} if it serves this API"
        owner = f"KEDA owns the external metrics API: {self._turn_off}, see docs/keda.md"
        if writer.name.startswith("keda"):
            return f"{effect}; {owner}"
        return f"{effect}; stop that writer, or if KEDA is installed, {owner}"

    def _explained(self, error: KubernetesError, done: str) -> KubernetesError:
        if error.code == HTTPStatus.NOT_FOUND:
            return NoPlaceError(f"there is no APIService {self._api_service}", is_normal=True)
        todo = ""
        if error.code == HTTPStatus.FORBIDDEN:
            todo = (
                "; apply the manifests again, whose ClusterRole allows getting and patching it, or "
                f"{self._turn_off} if this server should not serve that API"
            )
        return KubernetesError(f"{self.name} cannot be {done}: {error}{todo}", error.code)
