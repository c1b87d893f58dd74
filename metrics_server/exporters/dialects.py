"""Which labels tell the GPU and the pod of a row, as data."""

from collections.abc import Mapping, Sequence

from msgspec import Struct


class Dialect(Struct, frozen=True):
    """How the rows of an exporter tell their GPU and their pod.

    Attributes:
        marks: the labels that every row of a GPU has, not empty. By them the dialect of a row is
            known; a row that lacks one is another thing's: a link's, a switch's, a CPU's.
        gpu: the labels that together identify a GPU among those of a node. All but the first may
            be missing or empty.
        namespace: the label that has the pod's namespace.
        pod: the label that has the pod's name.
    """

    marks: tuple[str, ...]
    gpu: tuple[str, ...]
    namespace: str = "namespace"
    pod: str = "pod"


# NVIDIA/dcgm-exporter. An instance of a MIG GPU has its parent's UUID, and its own GPU_I_ID.
DCGM = Dialect(marks=("gpu", "UUID"), gpu=("UUID", "GPU_I_ID"))
# The same, started with --use-old-namespace.
DCGM_OLD_NAMESPACE = Dialect(
    marks=("gpu", "uuid"),
    gpu=("uuid", "GPU_I_ID"),
    namespace="pod_namespace",
    pod="pod_name",
)
# In order of preference: a label of the pod itself may be called "uuid" or "pod_name".
DIALECTS: tuple[Dialect, ...] = (DCGM, DCGM_OLD_NAMESPACE)


class Subject(Struct, frozen=True, gc=False):
    """What a row measures.

    Attributes:
        gpu: identifies the GPU, or the instance of a partitioned one, among those of its node.
        pod: (namespace, name) of the pod that has it; None where the row names none.
    """

    gpu: str
    pod: tuple[str, str] | None


def subject(
    labels: Mapping[str, str | None], dialects: Sequence[Dialect] = DIALECTS
) -> Subject | None:
    """What the row with these labels measures.

    Args:
        labels: as `exposition.parse_labels` gives them, None being a label with two values.
        dialects: those to try, in order of preference.

    Returns:
        None if it is not a row of a GPU, or if a label that its dialect reads has two values.
    """
    for dialect in dialects:
        if all(labels.get(mark, "") != "" for mark in dialect.marks):
            return _read(labels, dialect)
    return None


def _read(labels: Mapping[str, str | None], dialect: Dialect) -> Subject | None:
    read = (*dialect.marks, *dialect.gpu, dialect.namespace, dialect.pod)
    told = {name: value for name in read if (value := labels.get(name, "")) is not None}
    if any(name not in told for name in read):
        return None
    namespace, pod = told[dialect.namespace], told[dialect.pod]
    return Subject(
        gpu="/".join(told[name] for name in dialect.gpu if told[name]),
        pod=(namespace, pod) if namespace and pod else None,
    )
