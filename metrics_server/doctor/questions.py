"""The questions of an HPA: which metrics it asks for, and of which pods."""

from collections.abc import Sequence

from msgspec import structs

from metrics_server.doctor.api import Api
from metrics_server.doctor.asking import Asked
from metrics_server.doctor.hpa import Hpa
from metrics_server.errors import RequestError
from metrics_server.kube.autoscalers import Autoscaler, AutoscalerMetric
from metrics_server.kube.label_selectors import joined
from metrics_server.kube.labels import Selector
from metrics_server.kube.workloads import KINDS, Kind, Workloads

_BY_KIND = {one.kind: one for one in KINDS.values()}


async def questions_of(api: Api, hpa: Hpa, checked: Autoscaler) -> Sequence[Asked]:
    """Return what an HPA asks for, without its Resource metrics.

    Args:
        api: the Kubernetes API, for the selectors of the objects that it names.
        hpa: the HPA.
        checked: the same, as the server's own checks read it.
    """
    workloads = Workloads(api.client)
    namespace = hpa.metadata.namespace
    asked = [await _question(workloads, namespace, checked.target, one) for one in checked.metrics]
    return [structs.replace(one, hpa=f"{namespace}/{hpa.metadata.name}") for one in asked]


async def _question(
    workloads: Workloads, namespace: str, target: str, metric: AutoscalerMetric
) -> Asked:
    name = metric.name
    if metric.type == "External":
        return Asked("External", name, namespace, metric.selector, series=metric.series)
    about = target if metric.type == "Pods" else metric.described
    kind = _BY_KIND.get(about.partition("/")[0])
    described = _described(about, kind)
    try:
        selector = await _selector(workloads, namespace, about, kind)
        selector = joined(selector, metric.selector)
    except RequestError as error:
        return Asked(metric.type, name, namespace, None, str(error), described, metric.series)
    return Asked(metric.type, name, namespace, selector, "", described, metric.series)


async def _selector(
    workloads: Workloads, namespace: str, about: str, kind: Kind | None
) -> Selector:
    named, _, name = about.partition("/")
    if named == "Namespace":
        return Selector()
    if kind is None:
        raise RequestError(f"the selector of a {named} is not known to this command")
    return await workloads.selector(kind, namespace, name)


def _described(about: str, kind: Kind | None) -> str:
    named, _, name = about.partition("/")
    resource = kind.resource if kind else f"{named.lower()}s"
    return f"{resource}/{name}"
