"""API groups as values: discovery is built from them, so that another group is one more value."""

from collections.abc import Iterable

from msgspec import Struct

from metrics_server.api.types import GROUP, VERSION
from metrics_server.errors import ConfigurationError


class ApiResource(Struct, frozen=True):
    """A namespaced resource of a group, which can be read by `get` only.

    With list, watch or delete among its verbs, the namespace, garbage-collector and quota
    controllers would start to call us.

    Attributes:
        name: as in the path, in lower case: client-go lowercases the names it requests, and
            compares them with discovery.
        kind: the kind that discovery reports, by which kubectl finds the resource.
    """

    name: str
    kind: str


class ApiGroup(Struct, frozen=True):
    """An API group.

    Attributes:
        name: such as "external.metrics.k8s.io".
        versions: the preferred one first; all have the same resources.
        resources: sorted by name; never empty. A group version without resources counts as stale,
            and a stale group version blocks the deletion of every namespace in the cluster.
    """

    name: str
    versions: tuple[str, ...]
    resources: tuple[ApiResource, ...]


def external_metrics_group(metrics: Iterable[str]) -> ApiGroup:
    """Return external.metrics.k8s.io with the metrics of these names.

    Each metric is listed with its own name as its kind, though every answer is an
    ExternalMetricValueList: kubectl finds a resource through its kind, and where several share
    one, `kubectl get gpu_utilization.external.metrics.k8s.io` requests whichever is listed last.

    Raises:
        ConfigurationError: there is no metric.
    """
    names = sorted({metric.lower() for metric in metrics})
    if not names:
        raise ConfigurationError("no rule is in effect: at least one metric must be served")
    return ApiGroup(GROUP, (VERSION,), tuple(ApiResource(name, name) for name in names))
