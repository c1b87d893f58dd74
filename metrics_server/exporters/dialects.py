"""How each exporter names its families and labels the rows of a GPU, as data."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

# (namespace, name) of a pod.
PodName = tuple[str, str]


class Dialect(Struct, frozen=True):
    """How the rows of an exporter tell their GPU, their pod and their node.

    Attributes:
        marks: the labels that every row of a GPU has, not empty. By them the dialect of a row is
            known; a row that lacks one is another thing's: a link's, a switch's, a CPU's.
        gpu: the labels that together identify a GPU among those of a node. All but the first may
            be missing or empty.
        identity: what the value of the first of these begins with, as far as it is known. It tells
            dialects apart where the labels of a pod stand in a row beside the exporter's.
        namespace: the label that has the pod's namespace.
        pod: the label that has the pod's name.
        hosts: the labels that may have the node's name; the first that is there counts.
        instance: the label that an instance of a partitioned GPU has.
        part: the label that numbers the parts of a GPU, or of an instance, that are told apart in
            some families and not in others.
        units: the labels that number what a pod has of one GPU: each counts as one requested.
        stem: what the names of its families begin with, where they may stand behind a prefix that
            the exporter's user chose; "" where they may not.
        markers: families with such a stem, by whose rows the prefix of a page is told.
    """

    marks: tuple[str, ...]
    gpu: tuple[str, ...]
    identity: str = ""
    namespace: str = "namespace"
    pod: str = "pod"
    hosts: tuple[str, ...] = ()
    instance: str = ""
    part: str = ""
    units: tuple[str, ...] = ()
    stem: str = ""
    markers: tuple[str, ...] = ()


# NVIDIA/dcgm-exporter. An instance of a MIG GPU has its parent's UUID, and its own GPU_I_ID; from
# 4.8.4 on memory, XIDs and most ratios come for each compute instance in it (GPU_CI_ID).
# Hostname is the node from 3.x on, the exporter's pod before; from 4.8.3 on it is hostname. vgpu
# numbers the shares of a GPU.
DCGM = Dialect(
    marks=("gpu", "UUID"),
    gpu=("UUID", "GPU_I_ID"),
    identity="GPU-",
    hosts=("Hostname", "hostname"),
    instance="GPU_I_ID",
    part="GPU_CI_ID",
    units=("GPU_CI_ID", "vgpu"),
)
# The same, started with --use-old-namespace; and dcgm-exporter 1.x, which tells no node.
DCGM_OLD_NAMESPACE = structs.replace(
    DCGM,
    marks=("gpu", "uuid"),
    gpu=("uuid", "GPU_I_ID"),
    namespace="pod_namespace",
    pod="pod_name",
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
# Project-HAMi/HAMi, the vGPU monitor of a node.
HAMI = Dialect(
    marks=("deviceuuid", "podname"),
    gpu=("deviceuuid",),
    namespace="podnamespace",
    pod="podname",
    units=("vdeviceid",),
)
# GoogleCloudPlatform/container-engine-accelerators: the device plugins for GPUs and for TPUs.
GKE_DEVICE_PLUGIN = Dialect(marks=("accelerator_id", "make"), gpu=("accelerator_id",))
# Huawei's npu-exporter.
HUAWEI_NPU = Dialect(marks=("id", "vdie_id"), gpu=("id", "vdie_id"), pod="pod_name")

DIALECTS: tuple[Dialect, ...] = (DCGM, DCGM_OLD_NAMESPACE, AMD, HAMI, GKE_DEVICE_PLUGIN, HUAWEI_NPU)
"""In order of preference: a label of the pod itself may be called "uuid" or "pod_name"."""


class Subject(Struct, frozen=True, gc=False):
    """What a row measures.

    Attributes:
        gpu: identifies the GPU, or the instance of a partitioned one, among those of its node.
        pod: the pod that has it; None where the row names none.
        host: the node, as the exporter calls it; "" where the row does not say.
        part: which part of the GPU or instance it is about; "" where it is about the whole.
        is_instance: whether it is an instance of a partitioned GPU.
        unit: what tells it from the pod's other shares of the same GPU.
    """

    gpu: str
    pod: PodName | None
    host: str = ""
    part: str = ""
    is_instance: bool = False
    unit: tuple[str, ...] = ()


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
    fitting: list[Dialect] = []
    for dialect in dialects:
        # "" is no value; None is one, two in fact.
        for mark in dialect.marks:
            if labels.get(mark, "") == "":
                break
        else:
            fitting.append(dialect)
    if not fitting:
        return None
    if len(fitting) == 1:
        return _read(labels, fitting[0])
    # The labels of a pod stand in the same row, and may be called as another dialect's.
    best = max(fitting, key=lambda one: _fit(labels, one))
    return _read(labels, best)


def _fit(labels: Mapping[str, str | None], dialect: Dialect) -> tuple[bool, bool]:
    """How well a dialect fits a row that has its marks; the first of equals is preferred."""
    identity = labels.get(dialect.gpu[0]) or ""
    return (
        bool(dialect.identity) and identity.startswith(dialect.identity),
        bool(labels.get(dialect.pod) and labels.get(dialect.namespace)),
    )


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
    if dialect.part and labels.get(dialect.part, "") is None:
        return None
    host = ""
    for name in dialect.hosts:
        host = host or labels.get(name) or ""
    return Subject(
        gpu="/".join(gpu),
        pod=(namespace, pod) if namespace and pod else None,
        host=host,
        part=(labels.get(dialect.part) or "") if dialect.part else "",
        is_instance=bool(dialect.instance and labels.get(dialect.instance)),
        unit=tuple([text for name in dialect.units if (text := labels.get(name))]),
    )
