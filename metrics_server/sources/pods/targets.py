"""The URL of a pod's own metrics page, or why there is none.

The address is the one that the API server reports for the pod. Anyone who may create pods chooses
their ports and annotations, so these lead only to the pod itself: addresses that may belong to
something else are rejected.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from msgspec import structs

from metrics_server.common.text import printable
from metrics_server.kube.pod_endpoints import PodEndpoint
from metrics_server.rules.model import Endpoint

Network = IPv4Network | IPv6Network

_METRICS_PORTS = ("metrics", "http-metrics")
_MAX_PORT = 65535
_MAX_SHOWN = 60
_MAX_LISTED = 4
_SAY = "set the annotation prometheus.io/port, call one port metrics, or set podPages.endpoints"
# As in the configuration, but in an annotation: no query, no fragment, nothing to decode.
_PATH = re.compile(r"/[A-Za-z0-9/._~!$&'()*+,;=:@%-]{0,255}")
_DIGITS = re.compile(r"[0-9]{1,5}")
# A cloud's metadata service: those for IPv4 are link-local, and this is Amazon's for IPv6.
_METADATA = (IPv6Network("fd00:ec2::/32"),)


class NoTargetError(Exception):
    """A pod has no page that can be scraped; the message is a phrase that follows its name."""


def urls_of(
    pod: PodEndpoint | None,
    endpoint: Endpoint,
    *,
    host_network: bool = False,
    allowed: Sequence[Network] = (),
) -> tuple[str, ...]:
    """Return the URL of each of a pod's pages: one, unless the endpoint has several ports.

    The arguments and the error are those of `url_of`.
    """
    each = [structs.replace(endpoint, port=port) for port in endpoint.ports] or [endpoint]
    urls = [url_of(pod, one, host_network=host_network, allowed=allowed) for one in each]
    return tuple(dict.fromkeys(urls))


def url_of(
    pod: PodEndpoint | None,
    endpoint: Endpoint,
    *,
    host_network: bool = False,
    allowed: Sequence[Network] = (),
) -> str:
    """Return the URL of a pod's page.

    Args:
        pod: what the pod says.
        endpoint: what the rule says, which takes precedence.
        host_network: whether pods on their node's network may be scraped.
        allowed: networks whose addresses are accepted, although they would otherwise be rejected.

    Raises:
        NoTargetError: the pod has no page that can be scraped.
    """
    if pod is None or not pod.ip:
        raise NoTargetError("has no IP address yet")
    if pod.host_network and not host_network:
        raise NoTargetError(
            "uses its node's network (hostNetwork), where other servers listen too; "
            "podPages.hostNetwork allows it"
        )
    try:
        address = ip_address(pod.ip)
    except ValueError:
        message = f'has "{printable(pod.ip, _MAX_SHOWN)}" for an IP address'
        raise NoTargetError(message) from None
    if _is_refused(address) and not any(address in network for network in allowed):
        raise NoTargetError(
            f"has the IP address {address}, which cannot be a pod's own; podPages.networks allows "
            "it"
        )
    port = _port(pod, endpoint)
    if pod.path and not _PATH.fullmatch(pod.path):
        raise NoTargetError(
            f'has prometheus.io/path "{printable(pod.path, _MAX_SHOWN)}", which is not a path'
        )
    path = endpoint.path or pod.path or "/metrics"
    scheme = endpoint.scheme or pod.scheme or "http"
    if scheme not in ("http", "https"):
        raise NoTargetError(
            f'has prometheus.io/scheme "{printable(scheme, _MAX_SHOWN)}": it must be http or https'
        )
    host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    return f"{scheme}://{host}:{port}{path}"


def _is_refused(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.scope_id):
        return True
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or any(address in network for network in _METADATA)
    )


def _port(pod: PodEndpoint, endpoint: Endpoint) -> int:
    """Return the port, by the first of the conventions that applies."""
    if isinstance(endpoint.port, int):
        return endpoint.port
    if endpoint.port is not None:
        found = [number for name, number in pod.ports if name == endpoint.port]
        if len(set(found)) == 1:
            return found[0]
        has = f"has several ports called {endpoint.port}" if found else _listed(pod.ports)
        raise NoTargetError(f"{has}: the configured port is {endpoint.port}")
    if pod.port:
        if _DIGITS.fullmatch(pod.port) and 0 < int(pod.port) <= _MAX_PORT:
            return int(pod.port)
        raise NoTargetError(
            f'has prometheus.io/port "{printable(pod.port, _MAX_SHOWN)}": it must be a port number'
        )
    return _by_convention(pod.ports)


def _by_convention(ports: Sequence[tuple[str, int]]) -> int:
    named = {number for name, number in ports if name in _METRICS_PORTS}
    http = {number for name, number in ports if name.startswith("http")}
    every = {number for _, number in ports}
    # Two ports for metrics are a sidecar's and the engine's: it could be either.
    for numbers in (named,) if named else (http, every):
        if len(numbers) == 1:
            return numbers.pop()
    if not ports:
        raise NoTargetError(f"declares no port: {_SAY}")
    raise NoTargetError(f"{_listed(ports)}, and which of them has the metrics is unknown: {_SAY}")


def _listed(ports: Sequence[tuple[str, int]]) -> str:
    if not ports:
        return "declares no port"
    shown = ", ".join(
        f"{name} ({number})" if name else str(number) for name, number in ports[:_MAX_LISTED]
    )
    more = f" and {len(ports) - _MAX_LISTED} more" if len(ports) > _MAX_LISTED else ""
    return f"declares the ports {printable(shown, 200)}{more}"
