"""The families of dcgm-exporter: their kinds, and those that are counters.

Names, types and units are those of NVIDIA/dcgm-exporter (etc/*.csv) and NVIDIA/DCGM
(dcgm_fields.h). DCGM 4.6 gave many fields canonical names; dcgm-exporter uses those that are in its
list of collectors. DCGM 4.6.1 and 4.7 added fields in base units, which 4.9 collects.
"""

from metrics_server.rules.families import (
    FULL_RATIO,
    MAX_CLOCK_MHZ,
    MAX_MEMORY_MIB,
    MAX_POWER_W,
    MAX_TEMPERATURE_C,
    MIB,
    BaseUnit,
    Kind,
)
from metrics_server.rules.lookup import Counters
from metrics_server.rules.model import Reading

# The only name whose meaning has changed: up to DCGM 4.6 it is another name of GPU_UTIL, in whole
# percent; since 4.7 it is a separate field, a ratio. These other names identify 4.7.
_GPU_UTIL_RATIO = "DCGM_FI_DEV_GPU_UTIL_RATIO"
_ONLY_IN_4_7 = (
    "DCGM_FI_DEV_FB_USED_BYTES",
    "DCGM_FI_DEV_MEMORY_UTIL_RATIO",
    "DCGM_FI_DEV_FB_FREE_BYTES",
    "DCGM_FI_DEV_FB_CAPACITY_BYTES",
    "DCGM_FI_DEV_FB_RESERVED_BYTES",
    "DCGM_FI_DEV_ENC_UTIL_RATIO",
    "DCGM_FI_DEV_DEC_UTIL_RATIO",
    "DCGM_FI_DEV_NVLINK_THROUGHPUT_BYTES_PER_SECOND",
)
# Without them, a fraction is a ratio, as percentages are whole, and 2 or more is a percentage. 1
# may be either: it is missing.
_GPU_UTIL_RATIO_READINGS = (
    Reading(_GPU_UTIL_RATIO, 0, FULL_RATIO, scale=100, beside=_ONLY_IN_4_7),
    Reading(_GPU_UTIL_RATIO, 2, 100),
    Reading(_GPU_UTIL_RATIO, 0, 0.995, scale=100),
)

# DCGM's sentinels for "none" are outside every range: they begin at 1.4e14 for floating-point
# fields, and at 9.2e18 for 64-bit integers.
KINDS = (
    Kind(
        """
        DCGM_FI_DEV_GPU_UTIL DCGM_FI_DEV_GPU_UTIL_RATIO dcgm_gpu_utilization
        DCGM_FI_DEV_MEM_COPY_UTIL DCGM_FI_DEV_MEMORY_UTIL_RATIO dcgm_mem_copy_utilization
        DCGM_FI_DEV_ENC_UTIL DCGM_FI_DEV_ENC_UTIL_RATIO dcgm_enc_utilization
        DCGM_FI_DEV_DEC_UTIL DCGM_FI_DEV_DEC_UTIL_RATIO dcgm_dec_utilization
        DCGM_FI_DEV_FAN_SPEED DCGM_FI_DEV_FAN_SPEED_RATIO
        """,
        "percent",
        100,
        base=BaseUnit("_RATIO", "ratio", 100, decimals=3, accepted=FULL_RATIO),
        irregular={_GPU_UTIL_RATIO: _GPU_UTIL_RATIO_READINGS},
    ),
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
        """,
        "ratio",
        1,
        decimals=3,
        accepted=FULL_RATIO,
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
    # The total of all links. DCGM computes it from KiB/s, divided by 1000. An exporter that
    # accumulates it soon exceeds what links can carry, and its values are rejected.
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
    # Events within the exporter's own window, with a row for each kind of event.
    Kind("DCGM_EXP_XID_ERRORS_COUNT", "count", 1e6, decimals=3, each=("xid",)),
    Kind("DCGM_EXP_CLOCK_EVENTS_COUNT", "count", 1e6, decimals=3, each=("clock_event",)),
)

COUNTERS = (
    Counters(
        "dcgm_fi_dev_total_energy_consumption|dcgm_total_energy_consumption"
        "|dcgm_fi_dev_.*_energy_joules_total",
        "gpu_power_usage",
    ),
    Counters(
        "dcgm_fi_dev_nvlink_([rt]x_)?(bandwidth|throughput)_l[0-9]+"
        "|dcgm_fi_dev_nvlink_count_[rt]x_(bytes|packets)|dcgm_fi_dev_nvlink_[rt]x_bytes_total",
        "DCGM_FI_PROF_NVLINK_TX_BYTES or DCGM_FI_PROF_NVLINK_RX_BYTES",
    ),
    Counters(
        "dcgm_fi_prof_pcie_[rt]x_bytes_total",
        "DCGM_FI_PROF_PCIE_TX_BYTES or DCGM_FI_PROF_PCIE_RX_BYTES",
    ),
    Counters("dcgm_fi_prof_.*_total", "a ratio, such as DCGM_FI_PROF_SM_ACTIVE"),
    Counters(
        "dcgm_fi_dev_[a-z_]*_violation|dcgm_[a-z_]*_violation"
        "|dcgm_fi_dev_.*_reason_.*_ns|dcgm_fi_dev_.*_throttle_.*_total"
        "|dcgm_exp_clock_events_total",
        "gpu_sm_clock",
    ),
    # DCGM's canonical names of counters end with _TOTAL. Older names with that ending that are
    # gauges are among the kinds above, which are looked up first. A CPU is not a GPU.
    Counters(
        "dcgm_fi_dev_(?!cpu_|.*_(bandwidth|throughput)_total).*_total|dcgm_exp_.*_total"
        "|dcgm_fi_dev_pcie_replay_counter|dcgm_pcie_replay_counter"
        "|dcgm_fi_dev_(un)?correctable_remapped_rows"
        "|dcgm_fi_dev_ecc_[sd]be_.*|dcgm_ecc_[sd]be_.*"
        "|dcgm_fi_dev_retired_[sd]be|dcgm_retired_pages_[sd]be"
        "|dcgm_fi_dev_nvlink_.*_error_count_.*|dcgm_nvlink_.*_error_count_total"
        "|dcgm_fi_dev_nvlink_count_(?!.*_ber).*|dcgm_fi_dev_nvlink_error_dl_.*"
        "|dcgm_fi_dev_c2c_link_error_.*|dcgm_fi_dev_pcie_count_.*",
        "a gauge, such as gpu_utilization: error counts are for alerts",
    ),
)
