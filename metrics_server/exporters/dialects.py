"""How each exporter names its families and labels the rows of a GPU, as data."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

# (namespace, name) of a pod.
PodName = tuple[str, str]


class Dialect(Struct, frozen=True):
    """How the rows of an exporter tell their GPU, their pod and their node.

    Attributes:
        marks: the labels that every row of a GPU has, not empty. By them the dialect of a row is
            known; a row that lacks one is another thing's: a link's, a switch's, a CPU's.
        gpu: the labels that together identify a GPU among those of a node. All but the first may
            be missing or empty.
        namespace: the label that has the pod's namespace.
        pod: the label that has the pod's name.
        hosts: the labels that may have the node's name; the first that is there counts.
        stem: what the names of its families begin with, where they may stand behind a prefix that
            the exporter's user chose; "" where they may not.
        markers: families with such a stem, by whose rows the prefix of a page is told.
    """

    marks: tuple[str, ...]
    gpu: tuple[str, ...]
    namespace: str = "namespace"
    pod: str = "pod"
    hosts: tuple[str, ...] = ()
    stem: str = ""
    markers: tuple[str, ...] = ()


# NVIDIA/dcgm-exporter. An instance of a MIG GPU has its parent's UUID, and its own GPU_I_ID.
# Hostname is the node from 3.x on, the exporter's pod before; from 4.8.3 on it is hostname.
DCGM = Dialect(marks=("gpu", "UUID"), gpu=("UUID", "GPU_I_ID"), hosts=("Hostname", "hostname"))
# The same, started with --use-old-namespace; and dcgm-exporter 1.x, which tells no node.
DCGM_OLD_NAMESPACE = Dialect(
    marks=("gpu", "uuid"),
    gpu=("uuid", "GPU_I_ID"),
    namespace="pod_namespace",
    pod="pod_name",
    hosts=("Hostname", "hostname"),
)
# ROCm/device-metrics-exporter. A serial number can be missing, and partitions share their GPU's.
# MetricsFieldPrefix in its configuration sets the prefix, for all families alike.
AMD = Dialect(
    marks=("gpu_id", "gpu_partition_id", "gpu_compute_partition_type"),
    gpu=("gpu_id", "gpu_partition_id"),
    hosts=("hostname",),
    stem="gpu_",
    markers=(
        "gpu_gfx_activity",
        "gpu_gfx_busy_instantaneous",
        "gpu_used_vram",
        "gpu_total_vram",
        "gpu_package_power",
        "gpu_average_package_power",
        "gpu_power_usage",
        "gpu_umc_activity",
        "gpu_junction_temperature",
        "gpu_edge_temperature",
        "gpu_clock",
        "gpu_health",
    ),
)
# In order of preference: a label of the pod itself may be called "uuid" or "pod_name".
DIALECTS: tuple[Dialect, ...] = (DCGM, DCGM_OLD_NAMESPACE, AMD)


class Subject(Struct, frozen=True, gc=False):
    """What a row measures.

    Attributes:
        gpu: identifies the GPU, or the instance of a partitioned one, among those of its node.
        pod: the pod that has it; None where the row names none.
        host: the node, as the exporter calls it; "" where the row does not tell.
    """

    gpu: str
    pod: PodName | None
    host: str = ""


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
        # "" is no value; None is one, two in fact.
        for mark in dialect.marks:
            if labels.get(mark, "") == "":
                break
        else:
            return _read(labels, dialect)
    return None


def _read(labels: Mapping[str, str | None], dialect: Dialect) -> Subject | None:
    namespace, pod = labels.get(dialect.namespace, ""), labels.get(dialect.pod, "")
    if namespace is None or pod is None:
        return None
    for mark in dialect.marks:
        if labels[mark] is None:
            return None
    gpu: list[str] = []
    for name in dialect.gpu:
        part = labels.get(name, "")
        if part is None:
            return None
        if part:
            gpu.append(part)
    host = ""
    for name in dialect.hosts:
        host = host or labels.get(name) or ""
    return Subject("/".join(gpu), (namespace, pod) if namespace and pod else None, host)
