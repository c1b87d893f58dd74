"""The CAs that the cluster trusts, as kube-apiserver publishes them for aggregated API servers.

They are in the ConfigMap kube-system/extension-apiserver-authentication:
https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

import msgspec
import structlog
from cryptography import x509
from msgspec import Raw, Struct

from metrics_server.auth.request_header import RequestHeaderConfig
from metrics_server.common.outages import Outage
from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.wire import Change

NAMESPACE = "kube-system"
NAME = "extension-apiserver-authentication"
# What to watch: the Role allows listing and watching only what this selects.
COLLECTION = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
QUERY: Mapping[str, str] = {"fieldSelector": f"metadata.name={NAME}"}

_READ_SECONDS = 10
_WHERE = f"the ConfigMap {NAMESPACE}/{NAME}"
_FORBIDDEN_USER = re.compile(r'User "([^"]+)"')

log = structlog.stdlib.get_logger(__name__)


class DelegatedAuthentication(Struct, frozen=True):
    """The cluster's settings for authenticating callers.

    Attributes:
        client_ca: the CAs of users' client certificates, PEM; None without any.
        request_header_ca: the CAs of front proxies' certificates, PEM; None without any.
        request_header: how front proxies send identities; None without `request_header_ca`.
    """

    client_ca: bytes | None = None
    request_header_ca: bytes | None = None
    request_header: RequestHeaderConfig | None = None


class _Metadata(Struct):
    name: str = ""


class ConfigMap(Struct):
    """The fields of a core/v1 ConfigMap that are needed here."""

    metadata: _Metadata
    data: dict[str, str] | None = None


_decode = msgspec.json.Decoder(ConfigMap).decode


def decode_config_map(raw: Raw | bytes) -> ConfigMap:
    """Decode a ConfigMap from JSON.

    Raises:
        msgspec.DecodeError: it is not a ConfigMap.
    """
    return _decode(raw)


def delegated_authentication(data: Mapping[str, str]) -> DelegatedAuthentication:
    """Parse the ConfigMap's data.

    Raises:
        ValueError: it is malformed; the message names the key.
    """
    request_header_ca = _bundle(data, "requestheader-client-ca-file")
    request_header = RequestHeaderConfig(
        username_headers=_headers(data, "requestheader-username-headers"),
        group_headers=_headers(data, "requestheader-group-headers"),
        extra_headers_prefixes=_headers(data, "requestheader-extra-headers-prefix"),
        uid_headers=_headers(data, "requestheader-uid-headers"),
        allowed_names=_strings(data, "requestheader-allowed-names"),
    )
    return DelegatedAuthentication(
        client_ca=_bundle(data, "client-ca-file"),
        request_header_ca=request_header_ca,
        request_header=request_header if request_header_ca else None,
    )


async def read_delegation(client: KubernetesClient) -> DelegatedAuthentication:
    """Read the ConfigMap, when the server starts.

    Raises:
        ConfigurationError: it is missing or malformed, or reading it is forbidden; the message
            says what to do.
        KubernetesError: the API cannot be reached, or refused for another reason.
    """
    try:
        body = await client.get(f"{COLLECTION}/{NAME}", {}, timeout=_READ_SECONDS)
        return delegated_authentication(_decode(body).data or {})
    except KubernetesError as error:
        if error.code == HTTPStatus.FORBIDDEN:
            raise ConfigurationError(
                f"not allowed to read {_WHERE}, without which no caller can be authenticated: "
                f"{error}; run:\n"
                f"{_remedy(str(error))}"
            ) from None
        if error.code == HTTPStatus.NOT_FOUND:
            raise ConfigurationError(
                f"{_WHERE} does not exist, and without it no caller can be authenticated; "
                "kube-apiserver creates it when it starts: is this the cluster's own API? To "
                "allow reading it, run:\n"
                f"{_remedy(str(error))}"
            ) from None
        raise
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(f"{_WHERE} cannot be used: {error}") from None


class DelegationStore:
    """The CAs that the cluster trusts; a reflector of the ConfigMap updates them.

    The last known CAs stay in use if the ConfigMap is deleted, becomes malformed or loses one of
    its CA bundles: an accident there must not lock everybody out.

    Args:
        value: the initial value.

    Attributes:
        value: the last good value.
    """

    def __init__(self, value: DelegatedAuthentication) -> None:
        self.value = value
        self._outage = Outage(
            log,
            "cluster CAs unavailable, keeping the last known",
            "cluster CAs available again",
            each_error=True,
        )
        self._listeners: list[Callable[[DelegatedAuthentication], None]] = []

    @property
    def last_error(self) -> str | None:
        """Why the value is not the cluster's current one, as a sentence; None while it is."""
        return self._outage.error

    def subscribe(self, listener: Callable[[DelegatedAuthentication], None]) -> None:
        """Call a function now, and after every change of the value. It must not raise."""
        self._listeners.append(listener)
        listener(self.value)

    def replace(self, items: Iterable[ConfigMap]) -> None:
        """Use the ConfigMap of a list."""
        found = next((item for item in items if item.metadata.name == NAME), None)
        if found is None:
            self._outage.failed(f"{_WHERE} no longer exists")
        else:
            self._take(found)

    def apply(self, kind: Change, item: ConfigMap) -> None:
        """Apply one change."""
        if item.metadata.name != NAME:
            return
        if kind == "DELETED":
            self._outage.failed(f"{_WHERE} was deleted")
        else:
            self._take(item)

    def _take(self, item: ConfigMap) -> None:
        try:
            value = delegated_authentication(item.data or {})
            _require_no_loss(self.value, value)
        except ValueError as error:
            self._outage.failed(f"{_WHERE} cannot be used: {error}")
            return
        self._outage.recovered()
        if value != self.value:
            self.value = value
            log.info("cluster CAs reloaded")
            for listener in self._listeners:
                listener(value)


def _require_no_loss(old: DelegatedAuthentication, new: DelegatedAuthentication) -> None:
    if old.client_ca and not new.client_ca:
        raise ValueError("client-ca-file is gone")
    if old.request_header_ca and not new.request_header_ca:
        raise ValueError("requestheader-client-ca-file is gone")


def _bundle(data: Mapping[str, str], key: str) -> bytes | None:
    pem = data.get(key, "").strip()
    if not pem:
        return None
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise ValueError(f"{key} does not contain PEM certificates: {error}") from None
    return pem.encode() + b"\n"


def _strings(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    """Parse a JSON array of strings; empty if the key is missing, or null (Go's nil)."""
    try:
        return msgspec.json.decode(data.get(key) or "[]", type=tuple[str, ...] | None) or ()
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"{key} is not a JSON array of strings: {error}") from None


def _headers(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    names = _strings(data, key)
    if not all(name.strip() for name in names):
        raise ValueError(f"{key} contains an empty name")
    return names


def _remedy(refusal: str) -> str:
    """Return the command that lets this server's user read the ConfigMap."""
    named = _FORBIDDEN_USER.search(refusal)
    user = named[1] if named else "system:serviceaccount:NAMESPACE:NAME"
    account = user.removeprefix("system:serviceaccount:")
    subject = f"--user={user}" if account == user else f"--serviceaccount={account}"
    return (
        f"kubectl create rolebinding -n {NAMESPACE} gpu-metrics-server-auth-reader "
        f"--role=extension-apiserver-authentication-reader {subject}"
    )
