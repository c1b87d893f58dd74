"""API groups as values: discovery and OpenAPI are built from them."""

from collections.abc import Iterable

from msgspec import Struct

from metrics_server.api.types import CUSTOM_GROUP, CUSTOM_VERSIONS, GROUP, VERSION
from metrics_server.errors import ConfigurationError


class ApiResource(Struct, frozen=True):
    """A resource of a group, which can be read by `get` only.

    With list, watch or delete among its verbs, the namespace, garbage-collector and quota
    controllers would start to call us.

    Attributes:
        name: as in the path, in lower case: client-go lowercases the names it requests, and
            compares them with discovery.
        kind: the kind that discovery reports, by which kubectl finds the resource.
        subresources: the names of its subresources, each of which has that kind; if there are any,
            the resource itself cannot be read.
        namespaced: whether it is in a namespace.
    """

    name: str
    kind: str
    subresources: tuple[str, ...] = ()
    namespaced: bool = True


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
    names = _sorted(metrics)
    return ApiGroup(GROUP, (VERSION,), tuple(ApiResource(name, name) for name in names))


def custom_metrics_group(metrics: Iterable[str], resources: Iterable[str]) -> ApiGroup:
    """Return custom.metrics.k8s.io with these metrics as subresources.

    As in custom-metrics-apiserver, the metrics of a Namespace are listed under `namespaces`, though
    they are requested as `metrics`.

    Args:
        metrics: their names.
        resources: the namespaced resources that have them, qualified.

    Raises:
        ConfigurationError: there is no metric.
    """
    names = _sorted(metrics)
    kind = "MetricValueList"
    listed = [
        ApiResource("namespaces", kind, names, namespaced=False),
        *(ApiResource(one, kind, names) for one in resources),
    ]
    return ApiGroup(CUSTOM_GROUP, CUSTOM_VERSIONS, tuple(sorted(listed, key=lambda one: one.name)))


def _sorted(metrics: Iterable[str]) -> tuple[str, ...]:
    names = tuple(sorted({metric.lower() for metric in metrics}))
    if not names:
        raise ConfigurationError("no rule is in effect: at least one metric must be served")
    return names
