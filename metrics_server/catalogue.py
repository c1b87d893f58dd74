"""The built-in catalogue, as data: every metric that is served, and where it is read per vendor.

Families and units are those of NVIDIA/dcgm-exporter (etc/default-counters.csv; the names of 1.x in
etc/1.x-compatibility-metrics.csv) and of ROCm/device-metrics-exporter (docs/configuration/
metricslist.md). A page has the families of one vendor only, so that their order among vendors does
not matter; within a vendor it does.
"""

from collections.abc import Iterator

from msgspec import structs

from metrics_server.rules import MetricRule, Reading

MIB = 1024 * 1024

_ANY_CLOCK_MHZ = 10_000
_ANY_MEMORY_MIB = 10_000_000
_ANY_POWER_W = 10_000
_ANY_TEMPERATURE_C = 200
# A profiling ratio can read a little above 1.
_FULL_RATIO = 1.01

# In partitioned mode the figures of a whole AMD GPU are told on its first partition alone, and
# elsewhere they are left out, or are a 0 that no GPU can have: it is out of the readings' ranges.
_WHOLE = (("gpu_compute_partition_type", "spx"),), (("gpu_compute_partition_type", "none"),)
_FIRST_PARTITION = (("gpu_partition_id", "0"),)


_DIES = Reading("gpu_gfx_busy_instantaneous", 1, 100, each=("xcc_index",))


def _ratio(family: str) -> Reading:
    return Reading(family, 0, _FULL_RATIO, scale=100)


def _percent(family: str) -> Reading:
    return Reading(family, 0, 100)


def _memory(family: str) -> Reading:
    return Reading(family, 0, _ANY_MEMORY_MIB, scale=MIB)


def _memory_share(family: str, *over: str) -> Reading:
    return Reading(family, 0, _ANY_MEMORY_MIB, scale=100, over=over)


def _amd_clock(kind: str) -> Iterator[Reading]:
    # A GPU has a clock for each of its compute dies. The type is in lower case from v1.1 on.
    for value in (kind, f"GPU_CLOCK_TYPE_{kind.upper()}"):
        yield Reading(
            "gpu_clock",
            1,
            _ANY_CLOCK_MHZ,
            where=(("clock_type", value),),
            each=("clock_index",),
        )


_AVERAGES: tuple[MetricRule, ...] = (
    MetricRule(
        name="gpu_utilization",
        help="share of time in which a kernel ran on the GPU",
        unit="percent",
        readings=(
            _percent("DCGM_FI_DEV_GPU_UTIL"),
            # MIG instances have no GPU_UTIL.
            _ratio("DCGM_FI_PROF_GR_ENGINE_ACTIVE"),
            _percent("dcgm_gpu_utilization"),
            _ratio("dcgm_fi_prof_gr_engine_active"),
            # It has been seen to say 0 at full load, while each of the dies says 100.
            *(Reading("gpu_gfx_activity", 0, 100, where=whole, unless=_DIES) for whole in _WHOLE),
            # Of a partition, the busy share of each of its own compute dies.
            Reading("gpu_gfx_busy_instantaneous", 0, 100, each=("xcc_index",)),
            Reading("gpu_gfx_activity", 0, 100, where=_FIRST_PARTITION),
        ),
        maximum=100,
    ),
    MetricRule(
        name="gpu_memory_copy_utilization",
        help="share of time in which the GPU's memory was read or written",
        unit="percent",
        readings=(
            _percent("DCGM_FI_DEV_MEM_COPY_UTIL"),
            _percent("dcgm_mem_copy_utilization"),
            Reading("gpu_umc_activity", 0, 100, where=_FIRST_PARTITION),
        ),
        maximum=100,
    ),
    MetricRule(
        name="gpu_memory_used",
        help="framebuffer memory in use",
        unit="bytes",
        readings=(
            _memory("DCGM_FI_DEV_FB_USED"),
            _memory("dcgm_fb_used"),
            _memory("gpu_used_vram"),
        ),
        maximum=_ANY_MEMORY_MIB * MIB,
    ),
    MetricRule(
        name="gpu_memory_free",
        help="framebuffer memory free",
        unit="bytes",
        readings=(
            _memory("DCGM_FI_DEV_FB_FREE"),
            _memory("dcgm_fb_free"),
            _memory("gpu_free_vram"),
        ),
        maximum=_ANY_MEMORY_MIB * MIB,
    ),
    MetricRule(
        name="gpu_memory_utilization",
        help="framebuffer memory in use, of what is in use and what is free",
        unit="percent",
        readings=(
            _memory_share("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"),
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
            Reading("DCGM_FI_DEV_POWER_USAGE", 0, _ANY_POWER_W),
            Reading("dcgm_power_usage", 0, _ANY_POWER_W),
            Reading("gpu_package_power", 1, _ANY_POWER_W),
            Reading("gpu_average_package_power", 1, _ANY_POWER_W),
            Reading("gpu_power_usage", 1, _ANY_POWER_W),
        ),
        maximum=_ANY_POWER_W,
    ),
    MetricRule(
        name="gpu_temperature",
        help="temperature of the GPU",
        unit="degrees Celsius",
        readings=(
            Reading("DCGM_FI_DEV_GPU_TEMP", 0, _ANY_TEMPERATURE_C),
            Reading("dcgm_gpu_temp", 0, _ANY_TEMPERATURE_C),
            Reading("gpu_junction_temperature", 1, _ANY_TEMPERATURE_C),
            Reading("gpu_edge_temperature", 1, _ANY_TEMPERATURE_C),
        ),
        maximum=_ANY_TEMPERATURE_C,
    ),
    MetricRule(
        name="gpu_sm_clock",
        help="clock of the streaming multiprocessors, or of the compute dies",
        unit="MHz",
        readings=(
            Reading("DCGM_FI_DEV_SM_CLOCK", 0, _ANY_CLOCK_MHZ),
            Reading("dcgm_sm_clock", 0, _ANY_CLOCK_MHZ),
            *_amd_clock("system"),
        ),
        maximum=_ANY_CLOCK_MHZ,
    ),
    MetricRule(
        name="gpu_memory_clock",
        help="clock of the GPU's memory",
        unit="MHz",
        readings=(
            Reading("DCGM_FI_DEV_MEM_CLOCK", 0, _ANY_CLOCK_MHZ),
            Reading("dcgm_memory_clock", 0, _ANY_CLOCK_MHZ),
            *_amd_clock("memory"),
        ),
        maximum=_ANY_CLOCK_MHZ,
    ),
    MetricRule(
        name="gpu_tensor_utilization",
        help="share of cycles in which the tensor pipe was active",
        unit="percent",
        readings=(
            _ratio("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"),
            _ratio("dcgm_fi_prof_pipe_tensor_active"),
            _percent("gpu_prof_tensor_active_percent"),
        ),
        maximum=100,
    ),
    MetricRule(
        name="gpu_memory_bandwidth_utilization",
        help="share of cycles in which data moved to or from the GPU's memory",
        unit="percent",
        readings=(
            _ratio("DCGM_FI_PROF_DRAM_ACTIVE"),
            _ratio("dcgm_fi_prof_dram_active"),
            Reading("gpu_umc_activity", 0, 100, where=_FIRST_PARTITION),
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


def _sum_of(rule: MetricRule) -> MetricRule:
    return structs.replace(
        rule, name=f"{rule.name}_sum", help=f"{rule.help}: the sum over pods", over_pods="sum"
    )


CATALOGUE: tuple[MetricRule, ...] = (
    *_AVERAGES,
    _sum_of(_AVERAGES[0]),
    *map(_max_of, _AVERAGES),
)
"""Every metric that is built in."""
