"""How an exporter labels its rows: which labels name a GPU, a pod and a node."""

from msgspec import Struct


class Dialect(Struct, frozen=True):
    """How the rows of an exporter name their GPU, their pod and their node.

    Attributes:
        name: its name in the configuration.
        marks: the labels that are never empty in a GPU row, by which the dialect of a row is
            recognized. A row that lacks one is not a GPU's, but a link's, a switch's or a CPU's.
        gpu: the labels that together identify a GPU on its node. All but the first may be missing
            or empty.
        namespace: the label with the pod's namespace.
        pod: the label with the pod's name.
        hosts: the labels that may have the node's name; the first one present is used.
        part: the label that numbers the separately allocatable parts of a GPU; "" if there is no
            such label. A pod's value on the GPU is the mean over its parts.
        instance: the labels that only the rows of an instance of a partitioned GPU have.
        units: the labels that number a pod's units of one GPU: each counts as one requested GPU.
        share: the one of them that marks the rows of a pod's share of a GPU.
        by_process: families in which a pod's row is the sum over its processes, and the device has
            its own row, if the exporter writes rows of shares.
        counted: labels of `Reading.each` that count from 0, separately in each family.
        alike: labels with equal values on GPUs that have equally many parts in a family.
        begins: the prefix that the first label of `gpu` always has.
        rival: a dialect whose marks a row may have too, because of labels of the pod; the row
            belongs to the one that it fits better.
        stems: what the names of its families begin with, after any prefix that the exporter's user
            chose.
        markers: families with such a stem, whose rows reveal the prefix on a page. If the page has
            none of them, the requested family itself is used.
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

    @property
    def optional(self) -> tuple[str, ...]:
        """The labels whose absence says that a GPU is not an instance, a part or a share."""
        return (*self.gpu[1:], self.part, *self.instance, *self.units, self.share)
