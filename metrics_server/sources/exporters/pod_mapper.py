"""Attributes the values on an exporter's page to pods."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.dialects import PodName, Subject
from metrics_server.sources.exporters.measures import Reader
from metrics_server.sources.exporters.sheet import Sheet
from metrics_server.sources.pages.exposition import parse_labels


class Attribution(Struct, frozen=True, gc=False):
    """The values that a page has for pods.

    Attributes:
        by_pod: for each pod, the value of each of its GPUs in the rule's unit, by what identifies
            the GPU on the node. A pod that is listed has at least one.
        unattributed: how many GPUs have rows, but none that names a pod: all, if the exporter does
            not query the kubelet; otherwise the idle ones.
        rejected: how many values of pods were rejected: out of range, NaN, or a sentinel.
        conflicting: how many GPUs of pods had two different values; they are missing.
        ambiguous: how many distinct label texts have a label twice with different values, and so do
            not identify their GPU or their pod.
        contradicted: how many GPUs of pods are idle in one reading and busy in another.
        partial: how many GPUs of pods have values for only some of their parts.
        incomplete: for each pod, its GPUs that have rows, but no accepted value.
        shared: for each pod, a set for each of its GPUs that is shared by time-slicing, MPS or a
            claim: all pods that use that GPU, including the pod itself.
        hosts: the nodes that the rows name as their own.
    """

    by_pod: Mapping[PodName, Mapping[str, float]]
    unattributed: int = 0
    rejected: int = 0
    conflicting: int = 0
    ambiguous: int = 0
    contradicted: int = 0
    partial: int = 0
    incomplete: Mapping[PodName, frozenset[str]] = {}
    shared: Mapping[PodName, frozenset[frozenset[PodName]]] = {}
    hosts: frozenset[str] = frozenset()

    @property
    def names_pods(self) -> bool:
        """Whether any GPU row names a pod."""
        return bool(self.by_pod or self.incomplete)


def attribute(  # noqa: C901 - one story in one loop
    sheet: Sheet, readings: Sequence[Reading]
) -> Attribution:
    """Attribute the values of a page to pods.

    Each GPU of a pod is read from the first reading that has an accepted value for it. A GPU with
    several rows of the same value, such as one for each container or share, counts once. A GPU with
    two different values is missing, and later readings are not tried: the pod may be wrong rather
    than the value. A value for only some parts of a GPU does not count, nor does a 0 that is
    contradicted. If the processes of a pod add up to more than the maximum, and no reading has a
    value, the pod gets the value of the device.

    The result does not depend on the order of lines, families and labels. No page raises an error.

    Args:
        sheet: the page.
        readings: the rule's, in order of preference.
    """
    reader = Reader(sheet)
    by_pod: dict[PodName, dict[str, float]] = {}
    settled: set[tuple[str, PodName]] = set()
    capped: dict[tuple[str, PodName], float] = {}
    rejected = conflicting = contradicted = partial = 0
    for reading in readings:
        scale = reading.scale
        for gpu, of_gpu in reader.measures(reading).items():
            for pod, measured in of_gpu.items():
                if pod is None or (gpu, pod) in settled:
                    continue
                place = (gpu, pod)
                rejected += measured.rejected
                conflicting += measured.conflicting
                if measured.conflicting:
                    settled.add(place)
                elif measured.value is None:
                    if measured.capped is not None:
                        capped.setdefault(place, measured.capped * scale)
                elif not reader.is_whole(reading, place, measured):
                    partial += 1
                elif measured.value == 0 and reader.is_contradicted(reading, place):
                    contradicted += 1
                else:
                    by_pod.setdefault(pod, {})[gpu] = measured.value * scale
                    settled.add(place)
    for place, value in capped.items():
        if place not in settled:
            by_pod.setdefault(place[1], {})[place[0]] = value
    values = Attribution(
        by_pod,
        rejected=rejected,
        conflicting=conflicting,
        ambiguous=sum(None in parse_labels(text).values() for text in reader.unread()),
        contradicted=contradicted,
        partial=partial,
    )
    return _with_company(values, reader.subjects())


def _with_company(values: Attribution, subjects: Sequence[Subject]) -> Attribution:
    """Return the attribution, completed with what the rows show in addition to their values."""
    pods_of: dict[str, set[PodName]] = {}
    holders: dict[tuple[str, str], set[PodName]] = {}
    for one in subjects:
        pods = pods_of.setdefault(one.gpu, set())
        if one.pod is not None:
            pods.add(one.pod)
            holders.setdefault((one.gpu, one.part), set()).add(one.pod)
    incomplete: dict[PodName, set[str]] = {}
    for gpu, pods in pods_of.items():
        for pod in pods:
            if gpu not in values.by_pod.get(pod, ()):
                incomplete.setdefault(pod, set()).add(gpu)
    shared: dict[PodName, set[frozenset[PodName]]] = {}
    for pods in holders.values():
        if len(pods) > 1:
            # One set for all of them: a set for each would take more than linear time and memory.
            together = frozenset(pods)
            for pod in pods:
                shared.setdefault(pod, set()).add(together)
    return structs.replace(
        values,
        unattributed=sum(not pods for pods in pods_of.values()),
        incomplete={pod: frozenset(gpus) for pod, gpus in incomplete.items()},
        shared={pod: frozenset(groups) for pod, groups in shared.items()},
        hosts=frozenset(one.host for one in subjects if one.host),
    )
