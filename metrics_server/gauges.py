"""Families of exporters that can be asked for by their own names, and those that cannot, as data.

Names, types and units are those of NVIDIA/dcgm-exporter (etc/*.csv), NVIDIA/DCGM
(dcgm_fields.h) and ROCm/device-metrics-exporter (docs/configuration/metricslist.md).
"""

from collections.abc import Iterator

from msgspec import Struct

from metrics_server.rules import Counters, MetricRule, Reading


class _Kind(Struct, frozen=True):
    """Gauges of one unit and one range.

    Attributes:
        families: their names, as on a page.
        unit: of what is on the page, which is answered unscaled.
        maximum: the greatest value there can be.
        decimals: how many decimal places are told.
        minimum: the least value there can be.
        believed: the greatest value on the page that is believed, if it is not the maximum.
        each: labels that number the parts of one GPU.
    """

    families: str
    unit: str
    maximum: float
    decimals: int = 0
    minimum: float = 0
    believed: float | None = None
    each: tuple[str, ...] = ()


# Where no range is known, what is huge is still DCGM's way to say "none": its sentinels begin at
# 1.4e14 for floating-point fields, and at 9.2e18 for integers of 64 bits.
_ANY = 1e14

_KINDS = (
    _Kind(
        "DCGM_FI_DEV_GPU_UTIL DCGM_FI_DEV_MEM_COPY_UTIL DCGM_FI_DEV_ENC_UTIL DCGM_FI_DEV_DEC_UTIL "
        "DCGM_FI_DEV_FAN_SPEED "
        "dcgm_gpu_utilization dcgm_mem_copy_utilization dcgm_enc_utilization dcgm_dec_utilization "
        "gpu_gfx_activity gpu_umc_activity gpu_prof_tensor_active_percent "
        "gpu_prof_occupancy_percent gpu_prof_gui_util_percent gpu_prof_sm_active",
        "percent",
        100,
    ),
    _Kind("gpu_gfx_busy_instantaneous", "percent", 100, each=("xcc_index",)),
    _Kind(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE DCGM_FI_PROF_SM_ACTIVE DCGM_FI_PROF_SM_OCCUPANCY "
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE DCGM_FI_PROF_DRAM_ACTIVE "
        "DCGM_FI_PROF_PIPE_FP64_ACTIVE DCGM_FI_PROF_PIPE_FP32_ACTIVE "
        "DCGM_FI_PROF_PIPE_FP16_ACTIVE DCGM_FI_PROF_PIPE_INT_ACTIVE "
        "DCGM_FI_PROF_PIPE_TENSOR_IMMA_ACTIVE DCGM_FI_PROF_PIPE_TENSOR_HMMA_ACTIVE "
        "DCGM_FI_PROF_PIPE_TENSOR_DFMA_ACTIVE DCGM_FI_DEV_FB_USED_PERCENT "
        "gpu_prof_simd_utilization",
        "ratio",
        1,
        decimals=3,
        believed=1.01,
    ),
    _Kind(
        "DCGM_FI_DEV_FB_USED DCGM_FI_DEV_FB_FREE DCGM_FI_DEV_FB_RESERVED DCGM_FI_DEV_FB_TOTAL "
        "DCGM_FI_DEV_BAR1_USED DCGM_FI_DEV_BAR1_FREE DCGM_FI_DEV_BAR1_TOTAL "
        "dcgm_fb_used dcgm_fb_free "
        "gpu_used_vram gpu_free_vram gpu_total_vram "
        "gpu_used_visible_vram gpu_free_visible_vram gpu_total_visible_vram "
        "gpu_used_gtt gpu_free_gtt gpu_total_gtt",
        "MiB",
        10_000_000,
    ),
    _Kind(
        "DCGM_FI_DEV_POWER_USAGE DCGM_FI_DEV_POWER_USAGE_INSTANT DCGM_FI_DEV_POWER_MGMT_LIMIT "
        "DCGM_FI_DEV_ENFORCED_POWER_LIMIT dcgm_power_usage",
        "watts",
        10_000,
    ),
    # A partition of an AMD GPU without a sensor of its own tells 0.
    _Kind("gpu_package_power gpu_average_package_power", "watts", 10_000, minimum=1),
    _Kind(
        "DCGM_FI_DEV_GPU_TEMP DCGM_FI_DEV_MEMORY_TEMP dcgm_gpu_temp dcgm_memory_temp",
        "degrees Celsius",
        200,
    ),
    _Kind(
        "gpu_junction_temperature gpu_edge_temperature gpu_memory_temperature",
        "degrees Celsius",
        200,
        minimum=1,
    ),
    _Kind(
        "DCGM_FI_DEV_SM_CLOCK DCGM_FI_DEV_MEM_CLOCK DCGM_FI_DEV_VIDEO_CLOCK "
        "DCGM_FI_DEV_APP_SM_CLOCK DCGM_FI_DEV_APP_MEM_CLOCK dcgm_sm_clock dcgm_memory_clock",
        "MHz",
        10_000,
    ),
    _Kind(
        "DCGM_FI_PROF_PCIE_TX_BYTES DCGM_FI_PROF_PCIE_RX_BYTES DCGM_FI_PROF_NVLINK_TX_BYTES "
        "DCGM_FI_PROF_NVLINK_RX_BYTES",
        "bytes per second",
        1e13,
    ),
    _Kind("pcie_bandwidth", "Mb/s", _ANY),
    _Kind("DCGM_FI_DEV_ROW_REMAP_FAILURE DCGM_FI_DEV_ROW_REMAP_PENDING", "0 or 1", 1, decimals=3),
    _Kind(
        "DCGM_FI_DEV_XID_ERRORS dcgm_xid_errors DCGM_FI_DEV_VGPU_LICENSE_STATUS DCGM_FI_DEV_PSTATE",
        "code",
        1000,
    ),
    _Kind("DCGM_FI_DEV_PCIE_LINK_GEN DCGM_FI_DEV_PCIE_LINK_WIDTH", "count", 1000),
)


def _rules() -> Iterator[MetricRule]:
    for kind in _KINDS:
        for family in kind.families.split():
            believed = kind.maximum if kind.believed is None else kind.believed
            yield MetricRule(
                name=family.lower(),
                help=f"{family}, as the exporter tells it",
                unit=kind.unit,
                readings=tuple(
                    Reading(name, kind.minimum, believed, each=kind.each)
                    for name in _spellings(family, kind)
                ),
                maximum=kind.maximum,
                decimals=kind.decimals,
            )


def _spellings(family: str, kind: _Kind) -> tuple[str, ...]:
    """The names of a family on the pages of all releases."""
    # dcgm-exporter 1.x has the profiling ratios in lower case; its bytes of PCIe are a counter.
    if family.startswith("DCGM_FI_PROF_") and kind.unit == "ratio":
        return family, family.lower()
    return (family,)


GAUGES: tuple[MetricRule, ...] = tuple(_rules())
"""A rule for each gauge that is known: averaged and unscaled."""

COUNTERS: tuple[Counters, ...] = (
    Counters(
        "dcgm_fi_dev_total_energy_consumption|dcgm_total_energy_consumption|gpu_energy_consumed",
        "gpu_power_usage",
    ),
    Counters(
        "dcgm_fi_dev_nvlink_bandwidth_.*|dcgm_nvlink_bandwidth_total|gpu_xgmi_link_[rt]x"
        "|gpu_xgmi_nbr_[0-9]+_tx_thrput",
        "DCGM_FI_PROF_NVLINK_TX_BYTES or DCGM_FI_PROF_NVLINK_RX_BYTES",
    ),
    Counters(
        "dcgm_fi_dev_[a-z_]*_violation|dcgm_[a-z_]*_violation|gpu_violation_[a-z_]*accumulated.*",
        "gpu_sm_clock",
    ),
    Counters(
        "dcgm_fi_dev_pcie_replay_counter|dcgm_pcie_replay_counter|pcie_[a-z_]*_count"
        "|pcie_bidirectional_bandwidth"
        "|dcgm_fi_dev_(un)?correctable_remapped_rows"
        "|dcgm_fi_dev_ecc_[sd]be_.*|dcgm_ecc_[sd]be_.*|gpu_ecc_.*"
        "|dcgm_fi_dev_retired_.*|dcgm_retired_pages_.*"
        "|dcgm_fi_dev_nvlink_.*_count_.*|dcgm_nvlink_.*_error_count_total"
        "|dcgm_exp_.*_count",
        "a gauge, such as gpu_utilization: a count of errors is for an alert",
    ),
)
"""Families that are counters, some of which AMD's exporter gives the type of a gauge."""
