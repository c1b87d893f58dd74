"""A ConfigMap with only the CA bundle, for clients that do not go through kube-apiserver.

The Secret is not for them, since it has the keys too.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Struct

from metrics_server.errors import KubernetesError
from metrics_server.kube.events import Regarding
from metrics_server.tls.places import Meta, NoPlaceError, StoredBundle, Writer, writer_of
from metrics_server.tls.shared import REQUEST_SECONDS, Kubernetes

_KEY = "ca.crt"
_FIELD = ("f:data", f"f:{_KEY}")


class _ConfigMap(Struct):
    metadata: Meta
    data: dict[str, str] | None = None


class ConfigMapBundle:
    """The bundle in one ConfigMap, a `BundlePlace`.

    Args:
        kubernetes: the client of the Kubernetes API.
        namespace: its namespace.
        config_map: its name.
    """

    def __init__(self, kubernetes: Kubernetes, namespace: str, config_map: str) -> None:
        self.name = f"{_KEY} of the ConfigMap {namespace}/{config_map}"
        self.log_values = {"configmap": f"{namespace}/{config_map}"}
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._config_map = config_map
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self._path = f"{self._collection}/{config_map}"

    async def read(self) -> StoredBundle:
        """Read the bundle, as in `BundlePlace`; a ConfigMap that does not exist has none."""
        try:
            body = await self._kubernetes.get(self._path, {}, timeout=REQUEST_SECONDS)
        except KubernetesError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return StoredBundle(b"", None, self._regarding(""))
            raise self._explained(error, "read") from error
        try:
            found = msgspec.json.decode(body, type=dict[str, object])
            decoded = msgspec.convert(found, _ConfigMap)
            bundle = (decoded.data or {}).get(_KEY, "").encode()
        except (msgspec.DecodeError, ValueError) as error:
            raise KubernetesError(
                f"the ConfigMap {self._namespace}/{self._config_map} is malformed: {error}"
            ) from error
        meta = decoded.metadata
        return StoredBundle(bundle, found, self._regarding(meta.uid), writer_of(meta, _FIELD))

    async def write(self, before: StoredBundle, bundle: bytes) -> None:
        """Write the bundle, as in `BundlePlace`; other keys are kept."""
        written = {_KEY: bundle.decode()}
        try:
            if before.object is None:
                await self._create(written)
            else:
                kept = msgspec.convert(before.object.get("data") or {}, dict[str, str])
                changed = {**before.object, "data": {**kept, **written}}
                await self._kubernetes.send("PUT", self._path, changed, timeout=REQUEST_SECONDS)
        except KubernetesError as error:
            raise self._explained(error, "written") from error

    def advice(self, writer: Writer) -> str:
        """Return what follows from another writer, and what to do, as in `BundlePlace`."""
        del writer
        return (
            "so clients that read it cannot verify gpu-metrics-server; stop that writer, or name "
            "another ConfigMap in `certificates.configMap`"
        )

    async def _create(self, data: Mapping[str, str]) -> None:
        """Create the ConfigMap. The manifests create it too, so that this right is not needed."""
        made = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self._config_map, "namespace": self._namespace},
            "data": data,
        }
        try:
            await self._kubernetes.send("POST", self._collection, made, timeout=REQUEST_SECONDS)
        except KubernetesError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            raise NoPlaceError(
                f"there is no ConfigMap {self._namespace}/{self._config_map}, and creating it is "
                f"forbidden: {error}; apply the manifests again, or run "
                f"`kubectl -n {self._namespace} create configmap {self._config_map}`"
            ) from error

    def _regarding(self, uid: str) -> Regarding:
        return Regarding("v1", "ConfigMap", self._config_map, self._namespace, uid)

    def _explained(self, error: KubernetesError, done: str) -> KubernetesError:
        if isinstance(error, NoPlaceError):
            return error
        todo = ""
        if error.code == HTTPStatus.FORBIDDEN:
            todo = "; apply the manifests again, whose Role allows getting and updating it"
        return KubernetesError(f"{self.name} cannot be {done}: {error}{todo}", error.code)
