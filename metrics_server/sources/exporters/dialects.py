"""How each exporter names its families and labels the rows of a GPU, as data."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

# (namespace, name) of a pod.
PodName = tuple[str, str]
Labels = Mapping[str, str | None]


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

    def matches(self, labels: Labels) -> bool:
        """Whether a row with these labels has all the marks."""
        # "" is no value; None is one, two in fact.
        for mark in self.marks:  # noqa: SIM110 - it is done for each row's labels, and is faster
            if labels.get(mark, "") == "":
                return False
        return True

    def fit(self, labels: Labels) -> tuple[bool, bool]:
        """How well a row that has the marks fits otherwise; the greater the better."""
        gpu = labels[self.gpu[0]]
        return gpu is None or gpu.startswith(self.begins), self.named(labels) is not None

    def named(self, labels: Labels) -> PodName | None:
        """The pod that a row names."""
        namespace, pod = labels.get(self.namespace), labels.get(self.pod)
        return (namespace, pod) if namespace and pod else None


_BY_PROCESS = frozenset(
    {"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO", "DCGM_FI_DEV_FB_USED"}
)
# NVIDIA/dcgm-exporter, started with --use-old-namespace; and 1.x, which names no node.
_DCGM_OLD_NAMESPACE = Dialect(
    name="dcgm-old-namespace",
    marks=("gpu", "uuid"),
    gpu=("uuid", "GPU_I_ID"),
    namespace="pod_namespace",
    pod="pod_name",
    hosts=("Hostname", "hostname"),
    part="GPU_CI_ID",
    instance=("GPU_I_ID", "GPU_I_PROFILE"),
    units=("GPU_CI_ID", "vgpu"),
    share="vgpu",
    by_process=_BY_PROCESS,
    begins="GPU-",
)
# NVIDIA/dcgm-exporter. An instance of a MIG GPU has its parent's UUID, and its own GPU_I_ID; from
# 4.8.4 on, the compute instances within it have a GPU_CI_ID, in the families that tell them apart.
# Hostname is the node from 3.x on, the exporter's pod before; from 4.8.3 on it is hostname.
_DCGM = Dialect(
    name="dcgm",
    marks=("gpu", "UUID"),
    gpu=("UUID", "GPU_I_ID"),
    hosts=("Hostname", "hostname"),
    part="GPU_CI_ID",
    instance=("GPU_I_ID", "GPU_I_PROFILE"),
    units=("GPU_CI_ID", "vgpu"),
    share="vgpu",
    by_process=_BY_PROCESS,
    begins="GPU-",
    rival=_DCGM_OLD_NAMESPACE,
)
# ROCm/device-metrics-exporter. A serial number can be missing, and partitions share their GPU's.
# MetricsFieldPrefix in its configuration sets the prefix, for all families alike.
_AMD = Dialect(
    name="amd",
    marks=("gpu_id", "gpu_partition_id", "gpu_compute_partition_type"),
    gpu=("gpu_id", "gpu_partition_id"),
    hosts=("hostname",),
    counted=frozenset({"xcc_index"}),
    alike=("card_model", "gpu_compute_partition_type"),
    stems=("gpu_", "pcie_"),
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
# Project-HAMi/HAMi, the monitor of vGPUs: a row for each device of each container.
_HAMI = Dialect(
    name="hami",
    marks=("deviceuuid",),
    gpu=("deviceuuid",),
    namespace="podnamespace",
    pod="podname",
    units=("vdeviceid",),
    share="vdeviceid",
)
# GoogleCloudPlatform/container-engine-accelerators: GKE's device plugins for TPUs and GPUs.
_GKE_TPU = Dialect(
    name="gke-tpu",
    marks=("accelerator_id", "model", "tpu_topology"),
    gpu=("accelerator_id",),
)
_GKE_GPU = Dialect(
    name="gke-gpu",
    marks=("accelerator_id", "model", "make"),
    gpu=("accelerator_id",),
)
# Ascend's npu-exporter.
_HUAWEI_NPU = Dialect(
    name="huawei-npu",
    marks=("id", "vdie_id"),
    gpu=("id", "vdie_id"),
    pod="pod_name",
)
DIALECTS: tuple[Dialect, ...] = (
    _DCGM,
    _DCGM_OLD_NAMESPACE,
    _AMD,
    _HAMI,
    _GKE_TPU,
    _GKE_GPU,
    _HUAWEI_NPU,
)
"""Those that are built in, in order of preference."""


class Subject(Struct, frozen=True, gc=False):
    """What a row measures.

    Attributes:
        gpu: identifies the GPU, or the instance of a partitioned one, among those of its node.
        pod: the pod that has it; None where the row names none.
        host: the node, as the exporter calls it; "" where the row does not tell.
        part: which part of the GPU; "" for all of it.
        is_instance: whether the GPU is an instance of a partitioned one.
        is_share: whether the row is of a share of the GPU.
        unit: what tells what the pod has of the GPU from what else it has of it.
        whole: the GPU that it is an instance of; "" where it is not one.
    """

    gpu: str
    pod: PodName | None
    host: str = ""
    part: str = ""
    is_instance: bool = False
    is_share: bool = False
    unit: tuple[str, ...] = ()
    whole: str = ""


def dialect_of(labels: Labels, dialects: Sequence[Dialect] = DIALECTS) -> Dialect | None:
    """The dialect of the row with these labels; None if it is not a row of a GPU."""
    for dialect in dialects:
        if dialect.matches(labels):
            rival = dialect.rival
            if rival and rival.matches(labels) and rival.fit(labels) > dialect.fit(labels):
                return rival
            return dialect
    return None


def subject(labels: Labels, dialects: Sequence[Dialect] = DIALECTS) -> Subject | None:
    """What the row with these labels measures.

    Args:
        labels: as `exposition.parse_labels` gives them, None being a label with two values.
        dialects: those to try, in order of preference.

    Returns:
        None if it is not a row of a GPU, or if a label that its dialect reads has two values.
    """
    dialect = dialect_of(labels, dialects)
    return None if dialect is None else read(labels, dialect)


def read(labels: Labels, dialect: Dialect) -> Subject | None:
    """What the row with these labels measures, in this dialect, whose marks it has."""
    namespace, pod = labels.get(dialect.namespace, ""), labels.get(dialect.pod, "")
    if namespace is None or pod is None:
        return None
    for mark in dialect.marks:
        if labels[mark] is None:
            return None
    gpu: list[str] = []
    for name in dialect.gpu:
        label = labels.get(name, "")
        if label is None:
            return None
        if label:
            gpu.append(label)
    part = labels.get(dialect.part, "")
    if part is None:
        return None
    host = ""
    for name in dialect.hosts:
        host = host or labels.get(name) or ""
    is_instance = bool(dialect.instance)
    for name in dialect.instance:
        is_instance = is_instance and bool(labels.get(name))
    return Subject(
        "/".join(gpu),
        (namespace, pod) if namespace and pod else None,
        host,
        part,
        is_instance,
        bool(dialect.share and labels.get(dialect.share)),
        tuple(filter(None, map(labels.get, dialect.units))),
        gpu[0] if len(gpu) > 1 else "",
    )
