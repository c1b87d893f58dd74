"""What a pod says about its own metrics page: its address, its ports and its annotations."""

from msgspec import Struct


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
