"""Which pods a metric's selector matches, and whose they are."""

import re
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from metrics_server.kube.autoscalers import AutoscalerMetric
from metrics_server.kube.labels import Selector
from metrics_server.kube.pods import Pod

Relation = Literal["own", "others", "unknown", "none"]
"""Whether the pods of a metric are those that the HPA scales, or others, as far as is known."""

# Kinds whose pods name them as their workload. The pods of a LeaderWorkerSet, for example, belong
# to StatefulSets that it created.
_OWNERS = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "Rollout", "Job"})
# Flagger and others keep two Deployments of one workload, and one HPA may well cover both.
_PAIRED = re.compile(r"-(primary|canary|stable|preview|baseline)$")
# The names of a CronJob's Jobs end with the minute; those that people create, often with the date.
_NUMBERED = re.compile(r"-[0-9]{6,}$")


class Selected(Struct, frozen=True):
    """The result of matching a selector in a namespace.

    Attributes:
        any: whether it matches a pod, with a GPU or without.
        own: whether it matches a GPU pod of the HPA's scale target.
        left_out: whether a GPU pod of the scale target does not match.
        others: other workloads with GPU pods that it matches, sorted; "" for a pod without one.
    """

    any: bool
    own: bool
    left_out: bool
    others: tuple[str, ...]


def selected(selector: Selector, pods: Sequence[Pod], target: str) -> Selected:
    """Return what a selector matches.

    Args:
        selector: the metric's.
        pods: every pod of the HPA's namespace.
        target: the kind and name of the scale target.
    """
    own = left_out = False
    others: set[str] = set()
    for pod in pods:
        # Only these are measured.
        if pod.gpus and not pod.terminating and pod.phase not in ("Succeeded", "Failed"):
            matches = selector.matches(pod.labels)
            if pod.workload == target:
                own |= matches
                left_out |= not matches
            elif matches:
                others.add(pod.workload)
    return Selected(
        any=own or bool(others) or any(selector.matches(pod.labels) for pod in pods),
        own=own,
        left_out=left_out,
        others=tuple(sorted({_family(one) for one in others} - {_family(target)})),
    )


def relation(metric: AutoscalerMetric, found: Selected, target: str) -> Relation:
    """Return how the pods of an External or Object metric relate to the scale target.

    Args:
        metric: the metric.
        found: what its selector matches.
        target: the kind and name of the scale target.
    """
    if metric.type == "Object":
        if metric.described == target:
            return "own"
        # A Service or a Namespace may select any pods, but not the target's GPUs if it has none.
        others = _names_its_pods(metric.described) or (_names_its_pods(target) and not found.own)
        return "others" if others else "unknown"
    if not found.any:
        return "none"
    if found.own:
        return "unknown" if found.others else "own"
    is_known = _names_its_pods(target) and "" not in found.others
    return "others" if is_known and found.others else "unknown"


def _names_its_pods(workload: str) -> bool:
    return workload.partition("/")[0] in _OWNERS


def is_narrowed(found: Selected, target: str) -> bool:
    """Whether the selector of a Pods metric leaves out pods of the scale target, or may do so."""
    return found.left_out or not (found.own or _names_its_pods(target))


def _family(workload: str) -> str:
    """Return a workload's name without what differs between workloads that belong together."""
    kind, _, name = workload.partition("/")
    if kind == "Job":
        return f"Job/{_NUMBERED.sub('', name)}"
    return f"{kind}/{_PAIRED.sub('', name)}" if name else ""
