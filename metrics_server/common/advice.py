"""Hints in errors about metric names and selectors: what to use instead.

What a caller sent is truncated and escaped before it goes into a message, and no hint takes long to
find.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache

from metrics_server.common.text import noun_is, printable

# Characters of Google's names that are examined.
_MAX_GOOGLE = 200
# Names that are compared with an unknown one, and the most characters of each.
_MAX_COMPARED = 500
_MAX_NAME = 64
_NEAREST = 3
# Characters for the names of the metrics that exist.
_MAX_LISTED = 280

# s0-prometheus, s1-prometheus-DCGM_FI_DEV_GPU_UTIL: a trigger of a ScaledObject.
_KEDA = re.compile(r"s[0-9]{1,3}-.*")
_DATADOG = re.compile(r"datadogmetric@.*")
# Google's names for metrics that are served here.
_GOOGLE = {
    "duty_cycle": "gpu_utilization",
    "memory_used": "gpu_memory_used",
    "memory_total": "gpu_memory_utilization",
}

# Labels that Prometheus, exporters and Google's adapter put on series. A pod may have such a label
# too, but they are examined only when no pod matches.
_SERIES_LABELS = re.compile(
    r"exported_.*|(resource|metric|metadata)\.(labels|user_labels|system_labels)\..*"
    r"|pod|pod_name|pod_namespace|namespace|container|container_name|Hostname|hostname|node"
    r"|modelName|model_name|target_model_name|inference_pool|gpu|UUID|uuid|device|GPU_I_ID|GPU_I_PROFILE|instance|job|cluster|kube_.*"
)
_LABELS_SHOWN = 2
# As kube.pods has it, which is above this module.
_GPU_FRACTION = "gpu-fraction"


@lru_cache(maxsize=256)
def unknown_metric(metric: str, names: tuple[str, ...], gauges: tuple[str, ...]) -> str:
    """Why a metric does not exist, and what to use instead.

    Args:
        metric: the name.
        names: the metrics that are served.
        gauges: the gauges available under their own names.
    """
    missing = f'there is no metric "{printable(metric)}"'
    return f"{missing}{_foreign(metric, (*names, *gauges)) or _listed(metric, names, gauges)}"


def _foreign(metric: str, known: Sequence[str]) -> str:
    """What to do with a name of another external metrics server; "" for any other name."""
    if _KEDA.fullmatch(metric):
        return (
            ": this is how KEDA names triggers of ScaledObjects, which its own server answers. "
            "KEDA's HPAs (keda-hpa-…) need KEDA's APIService; your own HPA uses "
            "gpu_utilization"
        )
    if _DATADOG.fullmatch(metric):
        return (
            ": this is how Datadog names DatadogMetrics, which its cluster agent answers. Your own "
            "HPA uses gpu_utilization"
        )
    if "|" not in metric:
        return ""
    here = _of_google(metric[:_MAX_GOOGLE], known)
    return (
        f': this is how Google names metrics, with "|". Here it is {here} with type: Value, or '
        f"{here}_sum with type: AverageValue, and the selector matches the labels of pods"
    )


def _of_google(metric: str, known: Sequence[str]) -> str:
    by_name = {name.lower(): name for name in known}
    for part in metric.split("|"):
        if name := _GOOGLE.get(part) or by_name.get(part):
            return name
    return "gpu_utilization"


def _listed(metric: str, names: Sequence[str], gauges: Sequence[str]) -> str:
    near = _nearest(metric, (*names, *gauges))
    means = [name for name in names if not _derived(name, names)]
    told, length = [], 0
    for name in means:
        length += len(name) + 2
        if length > _MAX_LISTED:
            break
        told.append(name)
    more = f" and {len(means) - len(told)} more" if len(told) < len(means) else ""
    return (
        (f"; the nearest {noun_is('name', len(near))} {', '.join(near)}" if near else "")
        + f". The metrics served here are: {', '.join(told)}{more}; most of them also as NAME_sum "
        "(for AverageValue) and NAME_max"
        + ("; and the exporters' gauges under their own names" if gauges else "")
        + " (gpu-metrics-server rules lists all)"
    )


def _derived(name: str, names: Sequence[str]) -> bool:
    """Whether it is the sum or maximum of another."""
    base = re.sub("_(sum|max)$", "", name)
    return base != name and base in names


def _nearest(metric: str, known: Sequence[str]) -> list[str]:
    by_name = {name.lower()[:_MAX_NAME]: name for name in known[:_MAX_COMPARED]}
    found = get_close_matches(metric.lower()[:_MAX_NAME], by_name, n=_NEAREST, cutoff=0.6)
    return [printable(by_name[name], _MAX_NAME) for name in found]


def series_labels(keys: Iterable[str]) -> str:
    """A hint if the keys of a selector without matching pods are labels of series; else ""."""
    found = [key for key in dict.fromkeys(keys) if _SERIES_LABELS.fullmatch(key)]
    if not found:
        return ""
    told = " and ".join(f'"{printable(key, _MAX_NAME)}"' for key in found[:_LABELS_SHOWN])
    return (
        f". {told}: probably labels of series. Here a selector matches the labels of pods, such "
        "as the matchLabels of their Deployment; a key such as series/modelName matches labels of "
        "series"
    )


def other_resources(names: Iterable[str]) -> str:
    """A hint for pods that request these extended resources but no GPU; "" without one."""
    found = sorted(dict.fromkeys(names))
    if not found:
        return ""
    if _GPU_FRACTION in found:
        return (
            ". They have an annotation of a fractional-GPU scheduler: their GPU belongs to a "
            "reservation pod of the scheduler, and no exporter reports a pod's part of it"
        )
    told = ", ".join(printable(name, _MAX_NAME) for name in found[:_NEAREST])
    more = f" and {len(found) - _NEAREST} more" if len(found) > _NEAREST else ""
    return f". They request {told}{more}: if an exporter measures it, add it to pods.gpuResources"
