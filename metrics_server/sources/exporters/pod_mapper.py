"""Attributes the values on an exporter's page to pods."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.dialects import PodName, Subject
from metrics_server.sources.exporters.measures import Reader
from metrics_server.sources.exporters.sheet import Sheet
from metrics_server.sources.pages.exposition import parse_labels


class Attribution(Struct, frozen=True):
    """What a page tells of pods.

    Attributes:
        by_pod: a pod to its GPUs, and each of them, by what identifies it on the node, to its value
            in the rule's unit. Never empty for a pod that is there.
        unattributed: how many GPUs have rows, but none that names a pod: all, if the exporter does
            not ask the kubelet; else those that are idle.
        rejected: how many values of pods were not believed: out of range, NaN, or a sentinel.
        conflicting: how many GPUs of pods had two different values; they are missing.
        ambiguous: how many rows, told by their labels, have one twice with different values, so
            that they do not tell their GPU or their pod.
        contradicted: how many GPUs of pods are idle by one reading and busy by another.
        partial: how many GPUs of pods have values for some of their parts only.
        incomplete: a pod to those of its GPUs that have rows, but no value that is believed.
        shared: a pod to all pods that have a GPU of its, it among them; a set for each such GPU
            that is shared, by time-slicing, MPS or a claim.
        hosts: the nodes that the rows say they are of.
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
        """Whether any row of a GPU names a pod."""
        return bool(self.by_pod or self.incomplete)


def attribute(  # noqa: C901 - one story, told in one loop
    sheet: Sheet, readings: Sequence[Reading]
) -> Attribution:
    """Attribute the values of a page to pods.

    Each GPU of a pod is read from the first reading that has a believed value for it. A GPU that
    is told twice with one value, as it is for each container and for each share of it, counts
    once. One that is told with two values is missing, and is not looked for in later readings:
    what is wrong may be the pod as well as the value. A value of some parts of a GPU, and a 0 that
    is contradicted, are no values. Where the processes of a pod add up to more than there is, and
    no reading has a value, the pod has what the device has.

    The answer does not depend on the order of lines, families and labels. No page raises.

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
            for pod, told in of_gpu.items():
                if pod is None or (gpu, pod) in settled:
                    continue
                place = (gpu, pod)
                rejected += told.rejected
                conflicting += told.conflicting
                if told.conflicting:
                    settled.add(place)
                elif told.value is None:
                    if told.capped is not None:
                        capped.setdefault(place, told.capped * scale)
                elif not reader.is_whole(reading, place, told):
                    partial += 1
                elif told.value == 0 and reader.is_contradicted(reading, place):
                    contradicted += 1
                else:
                    by_pod.setdefault(pod, {})[gpu] = told.value * scale
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
    """The attribution with what the rows tell besides their values."""
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
            # One set for all of them: a set for each would take time and memory that is not linear.
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
