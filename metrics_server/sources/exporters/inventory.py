"""What there is by all rows of a page, whatever it has measured.

Exporters leave out the rows of values that they do not have, and a text for a value makes a row
that cannot be read. So the rows of one family do not say which GPUs a pod has, nor which parts a
GPU has: those of all families do.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.dialects import Labels, PodName, Subject

# A part of a GPU: of what it is handed out in, then by the labels of `Reading.each`.
Part = tuple[str | None, ...]
# A GPU and the pod that has it; None stands for the device as a whole.
Place = tuple[str, PodName | None]


class Known(Struct, frozen=True, gc=False):
    """What the labels of a row of a GPU say.

    Attributes:
        subject: what the row measures.
        labels: all of them.
        dialect: how they are read.
    """

    subject: Subject
    labels: Labels
    dialect: Dialect


class Holding(Struct, frozen=True, gc=False):
    """What a pod has by a page.

    Attributes:
        gpus: each of its GPUs, or instances of one, to how much it has of that by the count of a
            request: two compute instances of one instance, or two shares of one GPU, are two.
        shared: whether other pods have one of them too.
    """

    gpus: Mapping[str, int]
    shared: bool


class Inventory(Struct, frozen=True):
    """The GPUs of a page.

    Attributes:
        by_pod: what each pod has that the page names.
        pods: a GPU to all pods that it is named for.
        devices: the GPUs that have rows of their own, which name no pod.
        wholes: an instance of a partitioned GPU to the GPU that it is an instance of.
    """

    by_pod: Mapping[PodName, Holding]
    pods: Mapping[str, frozenset[PodName]]
    devices: frozenset[str]
    wholes: Mapping[str, str]

    @property
    def free(self) -> int:
        """How many GPUs there are that no pod is named for."""
        return sum(not pods for pods in self.pods.values())


def take_inventory(subjects: Iterable[Subject]) -> Inventory:
    """The GPUs that the rows of a page measure."""
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
        # What is said of a GPU as a whole does not make it one more beside its instance.
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
    """How many units of a GPU these are; rows about the whole of it number none."""
    return max(1, len(units - {()}))


def named_parts(rows: Iterable[Known], reading: Reading) -> Mapping[Place, frozenset[Part]]:
    """A place to all parts of it that any row of a page names."""
    named: dict[Place, set[Part]] = {}
    for one in rows:
        part = part_of(one, reading)
        if part and None not in part and "" not in part[1:] and is_meant(one.labels, reading):
            named.setdefault((one.subject.gpu, one.subject.pod), set()).add(part)
    return {place: frozenset(finest(parts)) for place, parts in named.items()}


def finest(parts: Collection[Part]) -> list[Part]:
    """Those of the parts in which a GPU is handed out, if there are any, and not the whole."""
    return [part for part in parts if part and part[0]] or list(parts)


def part_of(one: Known, reading: Reading) -> Part:
    """Which part of its GPU a row is of; () where it is of all of it."""
    if reading.each:
        return (one.subject.part, *[one.labels.get(name, "") for name in reading.each])
    return (one.subject.part,) if one.subject.part else ()


def is_meant(labels: Labels, reading: Reading) -> bool:
    """Whether a row is one of those that the reading wants."""
    return all(labels.get(name) == wanted for name, wanted in reading.where)
