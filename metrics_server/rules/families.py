"""The gauges of exporters, each quantity by all the names that its family has had, as data.

Names, types and units are those of NVIDIA/dcgm-exporter (etc/*.csv), NVIDIA/DCGM (dcgm_fields.h)
and ROCm/device-metrics-exporter (docs/configuration/metricslist.md). DCGM 4.6 gave many fields
canonical names, of which dcgm-exporter has those that its list of collectors spells; DCGM 4.6.1
and 4.7 added fields in base units, which dcgm-exporter 4.9 collects by default. A page rarely has
a quantity by two names, and then both mean the same.
"""

from msgspec import Struct

MIB = 1024 * 1024
MAX_MEMORY_MIB = 10_000_000
MAX_POWER_W = 10_000
MAX_TEMPERATURE_C = 200
MAX_CLOCK_MHZ = 10_000
# A profiling ratio can read a little above 1.
FULL_RATIO = 1.01
# Where no range is known, what is huge is still DCGM's way to say "none": its sentinels begin at
# 1.4e14 for floating-point fields, and at 9.2e18 for integers of 64 bits.
_ANY = 1e14


class BaseUnit(Struct, frozen=True):
    """How a kind's families in base units differ from its others.

    Attributes:
        suffix: what their names end with.
        unit: their unit.
        scale: what their values are multiplied by to have the kind's unit.
        decimals: how many decimal places of them are answered.
        believed: the greatest value that is believed, in the base unit, if it is not the maximum.
    """

    suffix: str
    unit: str
    scale: float
    decimals: int = 0
    believed: float | None = None


class Kind(Struct, frozen=True):
    """Quantities of one unit and one range.

    Attributes:
        quantities: one to a line: its family, and the other names of the same.
        unit: of what is on the page.
        maximum: the greatest value there can be.
        decimals: how many decimal places are answered.
        minimum: the least value there can be.
        believed: the greatest value on the page that is believed, if it is not the maximum.
        each: labels that number the parts of one GPU.
        base: how the families in base units differ, if there are any.
    """

    quantities: str
    unit: str
    maximum: float
    decimals: int = 0
    minimum: float = 0
    believed: float | None = None
    each: tuple[str, ...] = ()
    base: BaseUnit | None = None


KINDS = (
    Kind(
        """
        DCGM_FI_DEV_GPU_UTIL DCGM_FI_DEV_GPU_UTIL_RATIO dcgm_gpu_utilization
        DCGM_FI_DEV_MEM_COPY_UTIL DCGM_FI_DEV_MEMORY_UTIL_RATIO dcgm_mem_copy_utilization
        DCGM_FI_DEV_ENC_UTIL DCGM_FI_DEV_ENC_UTIL_RATIO dcgm_enc_utilization
        DCGM_FI_DEV_DEC_UTIL DCGM_FI_DEV_DEC_UTIL_RATIO dcgm_dec_utilization
        DCGM_FI_DEV_FAN_SPEED DCGM_FI_DEV_FAN_SPEED_RATIO
        gpu_gfx_activity
        gpu_umc_activity
        gpu_prof_tensor_active_percent
        gpu_prof_occupancy_percent
        gpu_prof_gui_util_percent
        gpu_prof_sm_active
        """,
        "percent",
        100,
        base=BaseUnit("_RATIO", "ratio", 100, decimals=3, believed=FULL_RATIO),
    ),
    Kind("gpu_gfx_busy_instantaneous", "percent", 100, each=("xcc_index",)),
    # dcgm-exporter 1.x has the profiling ratios in lower case.
    Kind(
        """
        DCGM_FI_PROF_GR_ENGINE_ACTIVE DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO \
dcgm_fi_prof_gr_engine_active
        DCGM_FI_PROF_SM_ACTIVE DCGM_FI_PROF_SM_UTIL_RATIO dcgm_fi_prof_sm_active
        DCGM_FI_PROF_SM_OCCUPANCY DCGM_FI_PROF_SM_OCCUPANCY_RATIO dcgm_fi_prof_sm_occupancy
        DCGM_FI_PROF_PIPE_TENSOR_ACTIVE DCGM_FI_PROF_TENSOR_UTIL_RATIO \
dcgm_fi_prof_pipe_tensor_active
        DCGM_FI_PROF_DRAM_ACTIVE DCGM_FI_PROF_DRAM_UTIL_RATIO dcgm_fi_prof_dram_active
        DCGM_FI_PROF_PIPE_FP64_ACTIVE DCGM_FI_PROF_FP64_UTIL_RATIO
        DCGM_FI_PROF_PIPE_FP32_ACTIVE DCGM_FI_PROF_FP32_UTIL_RATIO
        DCGM_FI_PROF_PIPE_FP16_ACTIVE DCGM_FI_PROF_FP16_UTIL_RATIO
        DCGM_FI_PROF_PIPE_INT_ACTIVE DCGM_FI_PROF_INT_UTIL_RATIO
        DCGM_FI_PROF_PIPE_TENSOR_IMMA_ACTIVE DCGM_FI_PROF_IMMA_UTIL_RATIO
        DCGM_FI_PROF_PIPE_TENSOR_HMMA_ACTIVE DCGM_FI_PROF_HMMA_UTIL_RATIO
        DCGM_FI_PROF_PIPE_TENSOR_DFMA_ACTIVE DCGM_FI_PROF_DFMA_UTIL_RATIO
        DCGM_FI_DEV_FB_USED_PERCENT DCGM_FI_DEV_FB_USED_RATIO
        gpu_prof_simd_utilization
        """,
        "ratio",
        1,
        decimals=3,
        believed=FULL_RATIO,
    ),
    Kind(
        """
        DCGM_FI_DEV_FB_USED DCGM_FI_DEV_FB_USED_BYTES dcgm_fb_used
        DCGM_FI_DEV_FB_FREE DCGM_FI_DEV_FB_FREE_BYTES dcgm_fb_free
        DCGM_FI_DEV_FB_RESERVED DCGM_FI_DEV_FB_RESERVED_BYTES
        DCGM_FI_DEV_FB_TOTAL DCGM_FI_DEV_FB_CAPACITY_BYTES
        DCGM_FI_DEV_BAR1_USED DCGM_FI_DEV_BAR1_USED_BYTES
        DCGM_FI_DEV_BAR1_FREE DCGM_FI_DEV_BAR1_FREE_BYTES
        DCGM_FI_DEV_BAR1_TOTAL DCGM_FI_DEV_BAR1_CAPACITY_BYTES
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
        base=BaseUnit("_BYTES", "bytes", 1 / MIB),
    ),
    Kind(
        """
        DCGM_FI_DEV_POWER_USAGE DCGM_FI_DEV_BOARD_POWER_WATTS dcgm_power_usage
        DCGM_FI_DEV_POWER_USAGE_INSTANT DCGM_FI_DEV_BOARD_POWER_RAW_WATTS
        DCGM_FI_DEV_POWER_MGMT_LIMIT DCGM_FI_DEV_BOARD_POWER_LIMIT_REQUESTED_WATTS
        DCGM_FI_DEV_ENFORCED_POWER_LIMIT DCGM_FI_DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS
        """,
        "watts",
        MAX_POWER_W,
    ),
    # A partition of an AMD GPU without a sensor of its own says 0.
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
        DCGM_FI_DEV_GPU_TEMP DCGM_FI_DEV_GPU_TEMP_CELSIUS dcgm_gpu_temp
        DCGM_FI_DEV_MEMORY_TEMP DCGM_FI_DEV_MEMORY_TEMP_CELSIUS dcgm_memory_temp
        """,
        "degrees Celsius",
        MAX_TEMPERATURE_C,
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
    Kind(
        """
        DCGM_FI_DEV_SM_CLOCK DCGM_FI_DEV_SM_CLOCK_HERTZ dcgm_sm_clock
        DCGM_FI_DEV_MEM_CLOCK DCGM_FI_DEV_MEMORY_CLOCK_HERTZ dcgm_memory_clock
        DCGM_FI_DEV_VIDEO_CLOCK DCGM_FI_DEV_VIDEO_CLOCK_HERTZ
        DCGM_FI_DEV_APP_SM_CLOCK DCGM_FI_DEV_SM_APP_CLOCK_HERTZ
        DCGM_FI_DEV_APP_MEM_CLOCK DCGM_FI_DEV_MEMORY_APP_CLOCK_HERTZ
        """,
        "MHz",
        MAX_CLOCK_MHZ,
        base=BaseUnit("_HERTZ", "hertz", 1e-6),
    ),
    Kind(
        """
        DCGM_FI_PROF_PCIE_TX_BYTES
        DCGM_FI_PROF_PCIE_RX_BYTES
        DCGM_FI_PROF_NVLINK_TX_BYTES
        DCGM_FI_PROF_NVLINK_RX_BYTES
        """,
        "bytes per second",
        1e13,
    ),
    # Of all links together. DCGM makes it of KiB/s, by 1000. An exporter that adds it up is soon
    # beyond what links can carry, and not believed.
    Kind(
        """
        DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL DCGM_FI_DEV_NVLINK_THROUGHPUT_TOTAL \
DCGM_FI_DEV_NVLINK_THROUGHPUT_BYTES_PER_SECOND dcgm_nvlink_bandwidth_total
        DCGM_FI_DEV_NVLINK_TX_BANDWIDTH_TOTAL DCGM_FI_DEV_NVLINK_TX_THROUGHPUT_TOTAL
        DCGM_FI_DEV_NVLINK_RX_BANDWIDTH_TOTAL DCGM_FI_DEV_NVLINK_RX_THROUGHPUT_TOTAL
        """,
        "MB/s",
        1e7,
        base=BaseUnit("_BYTES_PER_SECOND", "bytes per second", 1 / 1_024_000),
    ),
    Kind("pcie_bandwidth", "Mb/s", _ANY),
    Kind(
        """
        DCGM_FI_DEV_ROW_REMAP_FAILURE DCGM_FI_DEV_ROW_REMAP_FAILED
        DCGM_FI_DEV_ROW_REMAP_PENDING
        """,
        "0 or 1",
        1,
        decimals=3,
    ),
    Kind(
        """
        DCGM_FI_DEV_XID_ERRORS DCGM_FI_DEV_XID_ERROR dcgm_xid_errors
        DCGM_FI_DEV_VGPU_LICENSE_STATUS
        DCGM_FI_DEV_PSTATE DCGM_FI_DEV_GPU_PSTATE
        """,
        "code",
        1000,
    ),
    Kind(
        """
        DCGM_FI_DEV_PCIE_LINK_GEN
        DCGM_FI_DEV_PCIE_LINK_WIDTH
        """,
        "count",
        1000,
    ),
    Kind(
        "DCGM_FI_DEV_RETIRED_PENDING DCGM_FI_DEV_PAGE_RETIRED_PENDING dcgm_retired_pages_pending",
        "count",
        1e6,
        decimals=3,
    ),
    # Events within the exporter's own window, a row for each kind of event.
    Kind("DCGM_EXP_XID_ERRORS_COUNT", "count", 1e6, decimals=3, each=("xid",)),
    Kind("DCGM_EXP_CLOCK_EVENTS_COUNT", "count", 1e6, decimals=3, each=("clock_event",)),
)
