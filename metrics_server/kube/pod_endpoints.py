"""What a pod says about its own metrics page: its address, its ports and its annotations."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from msgspec import Struct, field


class PodEndpoint(Struct, frozen=True, gc=False):
    """Where a pod may serve its own metrics page.

    Attributes:
        ip: status.podIP, which the kubelet reports; "" until there is one.
        host_network: spec.hostNetwork: the address is its node's.
        ports: the name ("" without one) and number of each TCP port of its containers.
        port: the annotation prometheus.io/port; "" without one.
        path: the annotation prometheus.io/path; "" without one.
        scheme: the annotation prometheus.io/scheme; "" without one.
    """

    ip: str
    host_network: bool = False
    ports: tuple[tuple[str, int], ...] = ()
    port: str = ""
    path: str = ""
    scheme: str = ""


class ContainerPort(Struct, frozen=True, rename="camel"):
    """A core/v1 ContainerPort."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"


class EndpointAnnotations(Struct):
    """The annotations that say where a pod's page is, by the convention of Prometheus."""

    port: str = field(name="prometheus.io/port", default="")
    path: str = field(name="prometheus.io/path", default="")
    scheme: str = field(name="prometheus.io/scheme", default="")


class HasPorts(Protocol):
    """A container, as far as it is needed here."""

    @property
    def ports(self) -> list[ContainerPort] | None:
        """The ports that it declares."""
        ...


def pod_endpoint(
    ip: str,
    containers: Iterable[HasPorts],
    annotations: EndpointAnnotations | None,
    *,
    host_network: bool,
) -> PodEndpoint:
    """Return what a pod says about its page.

    Args:
        ip: its address.
        containers: those that run as long as the pod: also its sidecars.
        annotations: its annotations.
        host_network: whether it uses its node's network.
    """
    ports = tuple(
        (port.name, port.container_port)
        for container in containers
        for port in container.ports or ()
        if port.protocol == "TCP"
    )
    said = annotations or EndpointAnnotations()
    return PodEndpoint(
        ip, host_network, _shared_ports(ports), *map(_shared, (said.port, said.path, said.scheme))
    )


# Pods of one template have the same. The caches are bounded, as templates come and go.
@lru_cache(maxsize=4096)
def _shared_ports(ports: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    return ports


@lru_cache(maxsize=4096)
def _shared(text: str) -> str:
    return text
