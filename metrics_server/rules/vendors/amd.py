"""AMD: ROCm/device-metrics-exporter.

Names, types and units are those of its docs/configuration/metricslist.md.
"""

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.families import (
    FULL_RATIO,
    MAX_CLOCK_MHZ,
    MAX_MEMORY_MIB,
    MAX_POWER_W,
    MAX_TEMPERATURE_C,
    Kind,
)
from metrics_server.rules.lookup import Counters
from metrics_server.rules.model import Reading
from metrics_server.rules.vendors.vendor import Use, Vendor

# A serial number can be missing, and partitions share that of their GPU. MetricsFieldPrefix in the
# exporter's configuration sets one prefix for all families.
_DIALECT = Dialect(
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

# Even if no range is known, a huge value is garbage.
_ANY = 1e14

_KINDS = (
    Kind(
        """
        gpu_gfx_activity
        gpu_umc_activity
        gpu_prof_tensor_active_percent
        gpu_prof_occupancy_percent
        gpu_prof_gui_util_percent
        gpu_prof_sm_active
        """,
        "percent",
        100,
    ),
    # A row for each compute die.
    Kind("gpu_gfx_busy_instantaneous", "percent", 100, each=("xcc_index",)),
    Kind("gpu_prof_simd_utilization", "ratio", 1, decimals=3, accepted=FULL_RATIO),
    Kind(
        """
        gpu_used_vram
        gpu_free_vram
        gpu_total_vram
        gpu_used_visible_vram
        gpu_free_visible_vram
        gpu_total_visible_vram
        gpu_used_gtt
        gpu_free_gtt
        gpu_total_gtt
        """,
        "MiB",
        MAX_MEMORY_MIB,
    ),
    # A partition without its own sensor reports 0.
    Kind(
        """
        gpu_package_power
        gpu_average_package_power
        gpu_power_usage
        """,
        "watts",
        MAX_POWER_W,
        minimum=1,
    ),
    Kind(
        """
        gpu_junction_temperature
        gpu_edge_temperature
        gpu_memory_temperature
        """,
        "degrees Celsius",
        MAX_TEMPERATURE_C,
        minimum=1,
    ),
    # Clocks of several types, with one of each type for each compute die.
    Kind("gpu_clock", "MHz", MAX_CLOCK_MHZ, minimum=1, each=("clock_index",), is_gauge=False),
    Kind("pcie_bandwidth", "Mb/s", _ANY),
)

# In partitioned mode only the first partition reports the values of the whole GPU. The others omit
# them, or report a 0 that is outside the families' ranges.
# A GPU that cannot be partitioned, or is in a VM, is whole: "4294967295" in v1.3.1, "NA" since.
_FIRST_PARTITION = (("gpu_partition_id", "0"),)
_NA = (("gpu_partition_id", "NA"),)
_NA_IN_1_3_1 = (("gpu_partition_id", "4294967295"),)
_SPX = (("gpu_compute_partition_type", "spx"),)
_NONE = (("gpu_compute_partition_type", "none"),)

# gpu_gfx_activity has been seen to report 0 at full load, while each of the dies reports 100.
_BUSY_DIES = Reading("gpu_gfx_busy_instantaneous", 1, 100, each=("xcc_index",))

_MEMORY_ACTIVITY = (
    Use("gpu_umc_activity", where=_FIRST_PARTITION),
    Use("gpu_umc_activity", where=_NA),
    Use("gpu_umc_activity", where=_NA_IN_1_3_1),
)

_METRICS: dict[str, tuple[str | Use, ...]] = {
    "gpu_utilization": (
        Use("gpu_gfx_activity", where=_SPX, unless=_BUSY_DIES),
        Use("gpu_gfx_activity", where=_NONE, unless=_BUSY_DIES),
        Use("gpu_gfx_activity", where=_NA, unless=_BUSY_DIES),
        Use("gpu_gfx_activity", where=_NA_IN_1_3_1, unless=_BUSY_DIES),
        # For a partition, the busy share of each of its compute dies.
        "gpu_gfx_busy_instantaneous",
        Use("gpu_gfx_activity", where=_FIRST_PARTITION, unless=_BUSY_DIES),
    ),
    "gpu_memory_copy_utilization": _MEMORY_ACTIVITY,
    "gpu_memory_used": ("gpu_used_vram",),
    "gpu_memory_free": ("gpu_free_vram",),
    "gpu_memory_utilization": (Use("gpu_used_vram", share_of=("gpu_total_vram",)),),
    "gpu_power_usage": ("gpu_package_power", "gpu_average_package_power", "gpu_power_usage"),
    "gpu_temperature": ("gpu_junction_temperature", "gpu_edge_temperature"),
    # The type is in lower case since v1.1.
    "gpu_sm_clock": (
        Use("gpu_clock", where=(("clock_type", "system"),)),
        Use("gpu_clock", where=(("clock_type", "GPU_CLOCK_TYPE_SYSTEM"),)),
    ),
    "gpu_memory_clock": (
        Use("gpu_clock", where=(("clock_type", "memory"),)),
        Use("gpu_clock", where=(("clock_type", "GPU_CLOCK_TYPE_MEMORY"),)),
    ),
    "gpu_tensor_utilization": ("gpu_prof_tensor_active_percent",),
    "gpu_memory_bandwidth_utilization": _MEMORY_ACTIVITY,
}

# The exporter declares some of them as gauges.
_COUNTERS = (
    Counters("gpu_energy_consumed", "gpu_power_usage"),
    Counters(
        "gpu_xgmi_link_[rt]x|gpu_xgmi_nbr_[0-9]+_tx_thrput",
        "DCGM_FI_PROF_NVLINK_TX_BYTES or DCGM_FI_PROF_NVLINK_RX_BYTES",
    ),
    Counters(
        "pcie_bidirectional_bandwidth",
        "DCGM_FI_PROF_PCIE_TX_BYTES or DCGM_FI_PROF_PCIE_RX_BYTES",
    ),
    Counters("gpu_violation_[a-z_]*accumulated.*", "gpu_sm_clock"),
    Counters(
        "pcie_[a-z_]*_count|gpu_ecc_.*",
        "a gauge, such as gpu_utilization: error counts are for alerts",
    ),
)

AMD = Vendor(
    name="amd",
    dialects=(_DIALECT,),
    kinds=_KINDS,
    metrics=_METRICS,
    counters=_COUNTERS,
    gpu_resources=(
        "amd.com/gpu",
        # The mixed naming strategy: by partition type, such as amd.com/cpx_nps4.
        "amd.com/*px_nps*",
    ),
)
