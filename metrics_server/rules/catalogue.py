"""The built-in catalogue, as data: every metric that is served, and where it is read per vendor.

A quantity is read by each name that its family has had (`families`). A page has the families of one
vendor only, so that their order among vendors does not matter; within a vendor it does.
"""

from collections.abc import Iterator

from msgspec import structs

from metrics_server.rules.families import (
    MAX_CLOCK_MHZ,
    MAX_MEMORY_MIB,
    MAX_POWER_W,
    MAX_TEMPERATURE_C,
    MIB,
)
from metrics_server.rules.model import MetricRule, Reading, sum_of
from metrics_server.rules.quantities import readings

# In partitioned mode the figures of a whole AMD GPU stand on its first partition alone, and
# elsewhere they are left out, or are a 0 that no GPU can have: it is out of the readings' ranges.
# A GPU that cannot be partitioned, or is in a VM, is whole: "4294967295" in v1.3.1, "NA" since.
_FIRST_PARTITION = (("gpu_partition_id", "0"),)
_NOT_PARTITIONED = (("gpu_partition_id", "NA"),), (("gpu_partition_id", "4294967295"),)
_WHOLE = (
    (("gpu_compute_partition_type", "spx"),),
    (("gpu_compute_partition_type", "none"),),
    *_NOT_PARTITIONED,
)


_DIES = Reading("gpu_gfx_busy_instantaneous", 1, 100, each=("xcc_index",))


def _memory_share(family: str, *over: str, unit: float = 1) -> Reading:
    return Reading(family, 0, MAX_MEMORY_MIB * unit, scale=100, over=over)


def _amd_memory_activity() -> Iterator[Reading]:
    for where in (_FIRST_PARTITION, *_NOT_PARTITIONED):
        yield Reading("gpu_umc_activity", 0, 100, where=where)


def _amd_clock(kind: str) -> Iterator[Reading]:
    # A GPU has a clock for each of its compute dies. The type is in lower case from v1.1 on.
    for value in (kind, f"GPU_CLOCK_TYPE_{kind.upper()}"):
        yield Reading(
            "gpu_clock",
            1,
            MAX_CLOCK_MHZ,
            where=(("clock_type", value),),
            each=("clock_index",),
        )


_AVERAGES: tuple[MetricRule, ...] = (
    MetricRule(
        name="gpu_utilization",
        help="share of time in which a kernel ran on the GPU",
        unit="percent",
        readings=(
            *readings("DCGM_FI_DEV_GPU_UTIL"),
            # MIG instances have no GPU_UTIL.
            *readings("DCGM_FI_PROF_GR_ENGINE_ACTIVE", scale=100),
            # It has been seen to say 0 at full load, while each of the dies says 100.
            *(Reading("gpu_gfx_activity", 0, 100, where=whole, unless=_DIES) for whole in _WHOLE),
            # Of a partition, the busy share of each of its own compute dies.
            *readings("gpu_gfx_busy_instantaneous"),
            Reading("gpu_gfx_activity", 0, 100, where=_FIRST_PARTITION, unless=_DIES),
        ),
        maximum=100,
    ),
    MetricRule(
        name="gpu_memory_copy_utilization",
        help="share of time in which the GPU's memory was read or written",
        unit="percent",
        readings=(*readings("DCGM_FI_DEV_MEM_COPY_UTIL"), *_amd_memory_activity()),
        maximum=100,
    ),
    MetricRule(
        name="gpu_memory_used",
        help="framebuffer memory in use",
        unit="bytes",
        readings=(
            *readings("DCGM_FI_DEV_FB_USED", scale=MIB),
            *readings("gpu_used_vram", scale=MIB),
        ),
        maximum=MAX_MEMORY_MIB * MIB,
    ),
    MetricRule(
        name="gpu_memory_free",
        help="framebuffer memory free",
        unit="bytes",
        readings=(
            *readings("DCGM_FI_DEV_FB_FREE", scale=MIB),
            *readings("gpu_free_vram", scale=MIB),
        ),
        maximum=MAX_MEMORY_MIB * MIB,
    ),
    MetricRule(
        name="gpu_memory_utilization",
        help="framebuffer memory in use, of what is in use and what is free",
        unit="percent",
        readings=(
            _memory_share("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"),
            _memory_share(
                "DCGM_FI_DEV_FB_USED_BYTES",
                "DCGM_FI_DEV_FB_USED_BYTES",
                "DCGM_FI_DEV_FB_FREE_BYTES",
                unit=MIB,
            ),
            _memory_share("dcgm_fb_used", "dcgm_fb_used", "dcgm_fb_free"),
            _memory_share("gpu_used_vram", "gpu_total_vram"),
        ),
        maximum=100,
    ),
    MetricRule(
        name="gpu_power_usage",
        help="power drawn by the GPU",
        unit="watts",
        readings=(
            *readings("DCGM_FI_DEV_POWER_USAGE"),
            *readings("gpu_package_power"),
            *readings("gpu_average_package_power"),
            *readings("gpu_power_usage"),
        ),
        maximum=MAX_POWER_W,
    ),
    MetricRule(
        name="gpu_temperature",
        help="temperature of the GPU",
        unit="degrees Celsius",
        readings=(
            *readings("DCGM_FI_DEV_GPU_TEMP"),
            *readings("gpu_junction_temperature"),
            *readings("gpu_edge_temperature"),
        ),
        maximum=MAX_TEMPERATURE_C,
    ),
    MetricRule(
        name="gpu_sm_clock",
        help="clock of the streaming multiprocessors, or of the compute dies",
        unit="MHz",
        readings=(*readings("DCGM_FI_DEV_SM_CLOCK"), *_amd_clock("system")),
        maximum=MAX_CLOCK_MHZ,
    ),
    MetricRule(
        name="gpu_memory_clock",
        help="clock of the GPU's memory",
        unit="MHz",
        readings=(*readings("DCGM_FI_DEV_MEM_CLOCK"), *_amd_clock("memory")),
        maximum=MAX_CLOCK_MHZ,
    ),
    MetricRule(
        name="gpu_tensor_utilization",
        help="share of cycles in which the tensor pipe was active",
        unit="percent",
        readings=(
            *readings("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", scale=100),
            *readings("gpu_prof_tensor_active_percent"),
        ),
        maximum=100,
    ),
    MetricRule(
        name="gpu_memory_bandwidth_utilization",
        help="share of cycles in which data moved to or from the GPU's memory",
        unit="percent",
        readings=(
            *readings("DCGM_FI_PROF_DRAM_ACTIVE", scale=100),
            *_amd_memory_activity(),
        ),
        maximum=100,
    ),
)


def _max_of(rule: MetricRule) -> MetricRule:
    return structs.replace(
        rule,
        name=f"{rule.name}_max",
        help=f"{rule.help}: the greatest of any GPU",
        over_gpus="max",
        over_pods="max",
    )


CATALOGUE: tuple[MetricRule, ...] = (
    *_AVERAGES,
    *map(sum_of, _AVERAGES),
    *map(_max_of, _AVERAGES),
)
"""Every metric that is built in."""
