"""NVIDIA: dcgm-exporter; its families are in `nvidia_families`."""

from msgspec import structs

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.vendors.nvidia_families import COUNTERS, KINDS
from metrics_server.rules.vendors.vendor import Hints, Service, Use, Vendor

# The exporter with --use-old-namespace; and 1.x, which does not name its node.
_OLD_NAMESPACE = Dialect(
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
    by_process=frozenset(
        {"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO", "DCGM_FI_DEV_FB_USED"}
    ),
    begins="GPU-",
)
# An instance of a MIG GPU has its parent's UUID and its own GPU_I_ID; since 4.8.4, the compute
# instances within it have a GPU_CI_ID, in the families that distinguish them. Hostname is the node
# since 3.x, and the exporter's pod before; since 4.8.3 the label is hostname.
_DIALECT = structs.replace(
    _OLD_NAMESPACE,
    name="dcgm",
    marks=("gpu", "UUID"),
    gpu=("UUID", "GPU_I_ID"),
    namespace="namespace",
    pod="pod",
    rival=_OLD_NAMESPACE,
)

_METRICS: dict[str, tuple[str | Use, ...]] = {
    # MIG instances have no GPU_UTIL.
    "gpu_utilization": ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"),
    "gpu_memory_copy_utilization": ("DCGM_FI_DEV_MEM_COPY_UTIL",),
    "gpu_memory_used": ("DCGM_FI_DEV_FB_USED",),
    "gpu_memory_free": ("DCGM_FI_DEV_FB_FREE",),
    "gpu_memory_utilization": (
        Use("DCGM_FI_DEV_FB_USED", share_of=("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE")),
        Use(
            "DCGM_FI_DEV_FB_USED_BYTES",
            share_of=("DCGM_FI_DEV_FB_USED_BYTES", "DCGM_FI_DEV_FB_FREE_BYTES"),
        ),
        Use("dcgm_fb_used", share_of=("dcgm_fb_used", "dcgm_fb_free")),
    ),
    "gpu_power_usage": ("DCGM_FI_DEV_POWER_USAGE",),
    "gpu_temperature": ("DCGM_FI_DEV_GPU_TEMP",),
    "gpu_sm_clock": ("DCGM_FI_DEV_SM_CLOCK",),
    "gpu_memory_clock": ("DCGM_FI_DEV_MEM_CLOCK",),
    "gpu_tensor_utilization": ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",),
    "gpu_memory_bandwidth_utilization": ("DCGM_FI_PROF_DRAM_ACTIVE",),
}

NVIDIA = Vendor(
    name="nvidia",
    dialects=(_DIALECT, _OLD_NAMESPACE),
    kinds=KINDS,
    metrics=_METRICS,
    counters=COUNTERS,
    gpu_resources=(
        "nvidia.com/gpu",
        # Time-slicing and MPS with renameByDefault; nvidia.com/mig-*.shared for MIG instances.
        "nvidia.com/gpu.shared",
        "nvidia.com/mig-*",
    ),
    shared_suffixes=(".shared",),
    # Only the Service of the setup guide: if other namespaces were trusted by default, anyone who
    # may create one of them could forge the values of any node.
    services=(Service("gpu-monitoring", "dcgm-exporter"),),
    hints=Hints(
        pods="DCGM_EXPORTER_KUBERNETES=true and the kubelet's pod-resources socket",
        claims="KUBERNETES_ENABLE_DRA=true",
        resources="NVIDIA_RESOURCE_NAMES",
        duplicates="dcgm-exporter 4.0 to 4.8.2",
    ),
)
