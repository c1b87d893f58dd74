"""The GPUs, pods and parts that all rows of a page name, whatever the rows measure.

Exporters omit rows without a value, and a row whose value is text cannot be read. So the rows of
one family do not show which GPUs a pod has, nor which parts a GPU has: the rows of all families do.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.dialects import Labels, PodName, Subject
from metrics_server.sources.pages.exposition import parse_labels

# A part of a GPU: the allocatable part first, then the labels of `Reading.each`.
Part = tuple[str | None, ...]
# A GPU and the pod that uses it; None is the device as a whole.
Place = tuple[str, PodName | None]


class Known(Struct, frozen=True, gc=False):
    """The labels of a GPU row, interpreted.

    Attributes:
        subject: what the row measures.
        text: all its labels, as they are on the page.
        dialect: the dialect that they were read in.
        parsed: all its labels, if they are kept.
    """

    subject: Subject
    text: str
    dialect: Dialect
    parsed: Labels | None = None

    @property
    def labels(self) -> Labels:
        """All its labels. Few readings need them, so they are parsed each time unless kept."""
        if self.parsed is not None:
            return self.parsed
        return parse_labels(self.text)


# The label texts of a page, interpreted; None for those that name no GPU.
KnownRows = Mapping[str, Known | None]


class Holding(Struct, frozen=True, gc=False):
    """The GPUs that a pod has, according to a page.

    Attributes:
        gpus: each of its GPUs, or GPU instances, with how many units of it the pod has, counted as
            in a request: two compute instances of one instance, or two shares of one GPU, are two.
        shared: whether another pod uses one of them too.
    """

    gpus: Mapping[str, int]
    shared: bool


class Inventory(Struct, frozen=True):
    """The GPUs on a page.

    Attributes:
        by_pod: what each pod named on the page has.
        pods: the pods named with each GPU.
        devices: the GPUs that have rows without a pod.
        wholes: the GPU that each instance of a partitioned GPU belongs to.
    """

    by_pod: Mapping[PodName, Holding]
    pods: Mapping[str, frozenset[PodName]]
    devices: frozenset[str]
    wholes: Mapping[str, str]

    @property
    def free(self) -> int:
        """How many GPUs have no pod."""
        return sum(not pods for pods in self.pods.values())


class LabelOfGpus(Struct, frozen=True):
    """One label of all GPUs on a page.

    Attributes:
        values: the value for each GPU and pod; "" if it is absent, None if its rows differ.
        is_known: whether the absence of the label says something: some row has it, or it is one
            that the exporter gives only to instances or shares.
    """

    values: Mapping[Place, str | None]
    is_known: bool


def label_of_gpus(rows: Iterable[Known], label: str) -> LabelOfGpus:
    """Return a label of each GPU, according to all rows of a page."""
    values: dict[Place, str | None] = {}
    is_known = False
    for one in rows:
        # Most labels that a page does not have appear nowhere in its text, which is faster to
        # check.
        value = one.labels.get(label, "") if label in one.text else ""
        is_known = is_known or value != "" or label in one.dialect.optional
        if one.subject.pod is not None:
            place = (one.subject.gpu, one.subject.pod)
            if values.setdefault(place, value) != value:
                values[place] = None
    return LabelOfGpus(values, is_known)


def take_inventory(subjects: Iterable[Subject]) -> Inventory:
    """Return the GPUs that the rows of a page measure."""
    units: dict[PodName, dict[str, set[tuple[str, ...]]]] = {}
    pods: dict[str, set[PodName]] = {}
    holders: dict[tuple[str, str], set[PodName]] = {}
    devices: set[str] = set()
    wholes: dict[str, str] = {}
    for one in subjects:
        named = pods.setdefault(one.gpu, set())
        if one.whole:
            wholes[one.gpu] = one.whole
        if one.pod is None:
            devices.add(one.gpu)
            continue
        named.add(one.pod)
        units.setdefault(one.pod, {}).setdefault(one.gpu, set()).add(one.unit)
        holders.setdefault((one.gpu, one.part), set()).add(one.pod)
    shared = {gpu for (gpu, _), having in holders.items() if len(having) > 1}
    by_pod: dict[PodName, Holding] = {}
    for pod, of_pod in units.items():
        # A row for a GPU as a whole does not count as another GPU beside its instance.
        gpus = of_pod.keys() - {wholes[gpu] for gpu in of_pod if gpu in wholes}
        by_pod[pod] = Holding(
            gpus={gpu: _count(of_pod[gpu]) for gpu in gpus},
            shared=not shared.isdisjoint(gpus),
        )
    return Inventory(
        by_pod,
        {gpu: frozenset(having) for gpu, having in pods.items()},
        frozenset(devices),
        wholes,
    )


def _count(units: set[tuple[str, ...]]) -> int:
    """Return how many units of a GPU these are; rows for the whole GPU have no unit."""
    return max(1, len(units - {()}))


def named_parts(rows: Iterable[Known], reading: Reading) -> Mapping[Place, frozenset[Part]]:
    """Return the parts of each place that any row of a page names."""
    named: dict[Place, set[Part]] = {}
    for one in rows:
        part = part_of(one, reading)
        if part and None not in part and "" not in part[1:] and is_selected(one.labels, reading):
            named.setdefault((one.subject.gpu, one.subject.pod), set()).add(part)
    return {place: frozenset(finest(parts)) for place, parts in named.items()}


def finest(parts: Collection[Part]) -> list[Part]:
    """Return the allocatable parts, if there are any, without the whole GPU."""
    return [part for part in parts if part and part[0]] or list(parts)


def part_of(one: Known, reading: Reading) -> Part:
    """Return which part of its GPU a row describes; () if it describes the whole GPU."""
    if reading.each:
        labels = one.labels
        return (one.subject.part, *[labels.get(name, "") for name in reading.each])
    return (one.subject.part,) if one.subject.part else ()


def is_selected(labels: Labels, reading: Reading) -> bool:
    """Return whether a row has the labels that the reading requires."""
    return all(labels.get(name) == wanted for name, wanted in reading.where)
