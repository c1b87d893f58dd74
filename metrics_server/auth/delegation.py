"""Whom the cluster trusts, as kube-apiserver publishes it for the servers that it hands on to.

It is the ConfigMap kube-system/extension-apiserver-authentication:
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
# What to watch: the Role allows to list and to watch only what this selects.
COLLECTION = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
QUERY: Mapping[str, str] = {"fieldSelector": f"metadata.name={NAME}"}

_READ_SECONDS = 10
_WHERE = f"the ConfigMap {NAMESPACE}/{NAME}"
_FORBIDDEN_USER = re.compile(r'User "([^"]+)"')

log = structlog.stdlib.get_logger(__name__)


class DelegatedAuthentication(Struct, frozen=True):
    """Whom the cluster trusts to tell who asks.

    Attributes:
        client_ca: the authorities of users' client certificates, PEM; None where there are none.
        request_header_ca: the authorities of front proxies' certificates, PEM; None likewise.
        request_header: how front proxies tell identities; None without `request_header_ca`.
    """

    client_ca: bytes | None = None
    request_header_ca: bytes | None = None
    request_header: RequestHeaderConfig | None = None


class _Metadata(Struct):
    name: str = ""


class ConfigMap(Struct):
    """The part of a core/v1 ConfigMap that is needed here."""

    metadata: _Metadata
    data: dict[str, str] | None = None


_decode = msgspec.json.Decoder(ConfigMap).decode


def decode_config_map(raw: Raw | bytes) -> ConfigMap:
    """A ConfigMap from its JSON.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decode(raw)


def delegated_authentication(data: Mapping[str, str]) -> DelegatedAuthentication:
    """What the ConfigMap's data says.

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
    """What the ConfigMap says, for the start of the server.

    Raises:
        ConfigurationError: it is missing or malformed, or may not be read; it tells what to do.
        KubernetesError: the API cannot be reached, or refused for another reason.
    """
    try:
        body = await client.get(f"{COLLECTION}/{NAME}", {}, timeout=_READ_SECONDS)
        return delegated_authentication(_decode(body).data or {})
    except KubernetesError as error:
        if error.code == HTTPStatus.FORBIDDEN:
            raise ConfigurationError(
                f"{_WHERE} may not be read, so nobody could be authenticated: {error}; run:\n"
                f"{_remedy(str(error))}"
            ) from None
        if error.code == HTTPStatus.NOT_FOUND:
            raise ConfigurationError(
                f"{_WHERE} does not exist, so nobody could be authenticated; kube-apiserver "
                "makes it at its start: is this the cluster's own API? To let it be read, run:\n"
                f"{_remedy(str(error))}"
            ) from None
        raise
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(f"{_WHERE} cannot be used: {error}") from None


class DelegationStore:
    """Holds whom the cluster trusts; a reflector of the ConfigMap fills it.

    What was known last is kept where the ConfigMap is deleted, becomes malformed or no more names
    an authority that it named before: an accident there must not lock everybody out.

    Args:
        value: what is known at first.

    Attributes:
        value: what is known.
    """

    def __init__(self, value: DelegatedAuthentication) -> None:
        self.value = value
        self._outage = Outage(
            log,
            "kept the last known trust of the cluster",
            "the trust of the cluster is known again",
            each_error=True,
        )
        self._listeners: list[Callable[[DelegatedAuthentication], None]] = []

    @property
    def last_error(self) -> str | None:
        """Why the value is not what the cluster has now, as a sentence; None while it is."""
        return self._outage.error

    def subscribe(self, listener: Callable[[DelegatedAuthentication], None]) -> None:
        """Call a function now, and whenever the value has changed. It must not raise."""
        self._listeners.append(listener)
        listener(self.value)

    def replace(self, items: Iterable[ConfigMap]) -> None:
        """Take over what there is."""
        found = next((item for item in items if item.metadata.name == NAME), None)
        if found is None:
            self._outage.failed(f"{_WHERE} does not exist any more")
        else:
            self._take(found)

    def apply(self, kind: Change, item: ConfigMap) -> None:
        """Take over one change."""
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
            log.info("took over the trust of the cluster as it has changed")
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
        raise ValueError(f"{key} holds no PEM certificates: {error}") from None
    return pem.encode() + b"\n"


def _strings(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    """A list of strings in JSON; none where there is no such key, or Go's nil."""
    try:
        return msgspec.json.decode(data.get(key) or "[]", type=tuple[str, ...] | None) or ()
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"{key} is no JSON array of strings: {error}") from None


def _headers(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    names = _strings(data, key)
    if not all(name.strip() for name in names):
        raise ValueError(f"{key} has an empty name")
    return names


def _remedy(refusal: str) -> str:
    """The command that lets the user of this server read the ConfigMap."""
    told = _FORBIDDEN_USER.search(refusal)
    user = told[1] if told else "system:serviceaccount:NAMESPACE:NAME"
    account = user.removeprefix("system:serviceaccount:")
    subject = f"--user={user}" if account == user else f"--serviceaccount={account}"
    return (
        f"kubectl create rolebinding -n {NAMESPACE} gpu-metrics-server-auth-reader "
        f"--role=extension-apiserver-authentication-reader {subject}"
    )
