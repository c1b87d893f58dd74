"""How an exporter labels its rows, as a value: which labels name a GPU, a pod and a node."""

from msgspec import Struct


class Dialect(Struct, frozen=True):
    """How the rows of an exporter name their GPU, their pod and their node.

    Attributes:
        name: what the configuration calls it.
        marks: the labels that every row of a GPU has, not empty, by which the dialect of a row is
            recognized. A row that lacks one is something else's: a link's, a switch's, a CPU's.
        gpu: the labels that together identify a GPU among those of a node. All but the first may
            be missing or empty.
        namespace: the label with the pod's namespace.
        pod: the label with the pod's name.
        hosts: the labels that may have the node's name; the first that is there counts.
        part: the label that numbers the parts of a GPU that are handed out separately; "" if none
            does. A pod's value on the GPU is the mean over the parts that it has.
        instance: the labels that only the rows of an instance of a partitioned GPU have.
        units: the labels that number what a pod has of one GPU: each counts as one requested.
        share: that one of them by which the rows of a pod's share of a GPU are known.
        by_process: families in which a pod's row is the sum over its processes, and the device has
            a row of its own, if rows of shares are written.
        counted: labels of `Reading.each` that count from 0, by each family for itself.
        alike: labels that are equal for GPUs that have equally many parts in a family.
        begins: what the first label of `gpu` always begins with.
        rival: a dialect that a row may have the marks of too, by labels of the pod's own; the row
            is of the one that it fits better.
        stems: what the names of its families begin with, where they may follow a prefix that the
            exporter's user chose.
        markers: families with such a stem, by whose rows the prefix of a page is found. Where it
            has none of them, the family in question is looked for itself.
    """

    name: str
    marks: tuple[str, ...]
    gpu: tuple[str, ...]
    namespace: str = "namespace"
    pod: str = "pod"
    hosts: tuple[str, ...] = ()
    part: str = ""
    instance: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    share: str = ""
    by_process: frozenset[str] = frozenset()
    counted: frozenset[str] = frozenset()
    alike: tuple[str, ...] = ()
    begins: str = ""
    rival: "Dialect | None" = None
    stems: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
