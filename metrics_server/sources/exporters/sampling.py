"""The sample of a pod, from the pages of the exporters on its node (pure)."""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import PodSample
from metrics_server.rules.model import MetricRule
from metrics_server.sources.exporters.dialects import PodName
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.pod_mapper import Attribution
from metrics_server.sources.exporters.selecting import Choice

# A value up to this factor above the rule's maximum counts as the maximum, as a profiling ratio can
# be a little above 1. A higher value is rejected.
_TOLERANCE = 1.01


def sample_of(
    rule: MetricRule,
    pod: Pod,
    read: Sequence[tuple[Page, Attribution]],
    were_selected: Callable[[frozenset[PodName]], bool],
    choice: Choice,
) -> PodSample | None:
    """Return the sample of a pod, from the pages of its node's exporters; None if it has none.

    Args:
        rule: the rule of the metric.
        pod: the pod to measure.
        read: the pages that may describe it.
        were_selected: returns whether all of these pods were selected.
        choice: which of its GPUs do not count.
    """
    name = (pod.namespace, pod.name)
    left_out = choice.left_out
    named = [one for one in read if name in one[1].by_pod or name in one[1].incomplete]
    gpus: dict[str, float] = {}
    missing: set[str] = set()
    shared = False
    for page, attribution in named:
        missing |= attribution.incomplete.get(name, frozenset())
        for group in attribution.shared.get(name, ()):
            if not were_selected(group):
                shared = shared or not left_out or _is_of_others(page, name, group, left_out)
        for gpu, value in attribution.by_pod.get(name, {}).items():
            if gpu in left_out:
                continue
            if 0 <= value <= rule.maximum * _TOLERANCE:
                gpus.setdefault(gpu, min(value, rule.maximum))
            else:
                missing.add(gpu)
    if not gpus or missing - gpus.keys() - left_out:
        return None
    # If it requests exactly these, each of them exclusively, there can be no others.
    is_exact = len(gpus) == pod.gpus and not pod.shareable
    if not is_exact and not _are_all(pod, gpus.keys(), left_out, read):
        return None
    # Exporters that together name more GPUs than the pod has are on different nodes: one is stale.
    if len(named) > 1 and 0 < pod.gpus < len(gpus.keys() | left_out):
        return None
    return PodSample(
        pod=pod.name,
        gpus=tuple(gpus[gpu] for gpu in sorted(gpus)),
        timestamp=min(page.timestamp for page, _ in named),
        shared=shared,
    )


def _is_of_others(
    page: Page, pod: PodName, group: frozenset[PodName], left_out: AbstractSet[str]
) -> bool:
    """Return whether a group of pods shares a GPU of a pod that is not left out."""
    inventory = page.inventory()
    counted = inventory.by_pod[pod].gpus.keys() - left_out
    return any(group <= inventory.pods[gpu] for gpu in counted)


def has_only(
    pod: Pod, left_out: AbstractSet[str], read: Sequence[tuple[Page, Attribution]]
) -> bool:
    """Return whether all GPUs of a pod are left out."""
    return _are_all(pod, frozenset(), left_out, read)


def _are_all(
    pod: Pod,
    gpus: AbstractSet[str],
    left_out: AbstractSet[str],
    read: Iterable[tuple[Page, Attribution]],
) -> bool:
    """Return whether these are all GPUs of a pod, as far as the pages of its node show.

    If it requests more than the pages name, some GPUs have no row at all, unless the pod shares its
    GPUs with other pods: then several of the requested units may be on one GPU.

    Args:
        pod: the pod.
        gpus: its GPUs that have a value.
        left_out: its GPUs that do not count.
        read: the pages.
    """
    units: dict[str, int] = {}
    shared = False
    for page, _ in read:
        inventory = page.inventory()
        holding = inventory.by_pod.get((pod.namespace, pod.name))
        if holding is not None:
            # A value of a GPU as a whole covers its instance too.
            without = holding.gpus.keys() - gpus - left_out
            if any(inventory.wholes.get(gpu) not in gpus for gpu in without):
                return False
            units |= {gpu: max(of, units.get(gpu, 0)) for gpu, of in holding.gpus.items()}
            shared = shared or holding.shared
    return shared or sum(units.values()) >= pod.gpus - pod.shareable


def has_drained(rule: MetricRule, pod: Pod, pages: Sequence[Page]) -> bool:
    """Return whether a terminating pod has released its GPUs: the pages list GPUs, but not its.

    Args:
        rule: the rule of the metric.
        pod: a pod without a sample.
        pages: the pages of all exporters of its node.
    """
    name = (pod.namespace, pod.name)
    read = [page.attribution(rule.readings) for page in pages]
    return (
        pod.terminating
        and any(one.unattributed or one.names_pods for one in read)
        and not any(name in page.inventory().by_pod for page in pages)
    )


def of_its_node(
    pod: Pod, read: list[tuple[Page, Attribution]], hosts: frozenset[str]
) -> list[tuple[Page, Attribution]]:
    """Return the pages that may describe a pod.

    An exporter keeps naming a pod that is gone, and a pod of the same name may already run on
    another node. An exporter's name for its node need not be the Node's name: before 3.x it is that
    of the exporter's own pod. So a page is ignored only if it names another node that is known
    here, or if another page, which names pods, names the pod's node.
    """
    called = names_of(pod.node)
    own = [one for one in read if one[1].names_pods and not one[1].hosts.isdisjoint(called)]
    return own or [one for one in read if one[1].hosts.isdisjoint(hosts)]


def names_of(node: str) -> tuple[str, ...]:
    """Return the names that exporters may use for a node: its full name and its first part."""
    first = node.partition(".")[0]
    # A name that begins with a digit may be an address, whose first part is not a name.
    return (node,) if first == node or node[:1].isdigit() else (node, first)
