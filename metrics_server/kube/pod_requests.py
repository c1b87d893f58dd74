"""The resources that a pod's containers request."""

from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

from metrics_server.common.numbers import is_digits
from metrics_server.kube.pod_endpoints import ContainerPort
from metrics_server.kube.quantities import parse_quantity


class Container(Struct, frozen=True, rename="camel"):
    """The fields of a core/v1 Container that define its requests.

    Attributes:
        resources: resources.requests and resources.limits.
        restart_policy: "Always" makes an init container a sidecar.
        ports: the ports that it declares.
    """

    resources: "Resources | None" = None
    restart_policy: str | None = None
    ports: list[ContainerPort] | None = None

    def request(self, resource: str) -> int:
        """Return how much of an extended resource it requests; its limit is the default."""
        if self.resources is None:
            return 0
        for amounts in (self.resources.requests, self.resources.limits):
            if amounts and resource in amounts:
                return _count(amounts[resource])
        return 0


class Resources(Struct, frozen=True):
    """A core/v1 ResourceRequirements."""

    requests: dict[str, str | int | float] | None = None
    limits: dict[str, str | int | float] | None = None


def effective_request(
    containers: Iterable[Container], init_containers: Iterable[Container], resource: str
) -> int:
    """Return how much of a resource the scheduler reserves for a pod.

    That is the total of its containers, or what is needed while an init container runs, whichever
    is greater. Sidecars, once started, run alongside everything that starts after them
    (k8s.io/component-helpers/resource, PodRequests).
    """
    sidecars = starting = 0
    for container in init_containers:
        if container.restart_policy == "Always":
            sidecars += container.request(resource)
        else:
            starting = max(starting, sidecars + container.request(resource))
    return max(starting, sidecars + sum(container.request(resource) for container in containers))


# There are few, and each pod has one.
@lru_cache(maxsize=256)
def _count(quantity: str | float) -> int:
    """Parse a whole number written as a Quantity, such as "1" or "2k"."""
    if not isinstance(quantity, str) or is_digits(quantity):
        return int(quantity)
    return int(parse_quantity(str(quantity)))
