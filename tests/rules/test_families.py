"""Every quantity is found in the families of all releases."""

from collections.abc import Mapping
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet
from tests.support.clients import Client
from tests.support.exporters import page
from tests.support.families import RULES
from tests.support.harness import cluster
from tests.support.objects import pod

MIB = 1024 * 1024

# One GPU in the same state, under the names of different releases.
OLD = {
    "DCGM_FI_DEV_GPU_UTIL": 83,
    "DCGM_FI_DEV_MEM_COPY_UTIL": 27,
    "DCGM_FI_DEV_FB_USED": 20000,
    "DCGM_FI_DEV_FB_FREE": 60000,
    "DCGM_FI_DEV_POWER_USAGE": 412.75,
    "DCGM_FI_DEV_GPU_TEMP": 61,
    "DCGM_FI_DEV_SM_CLOCK": 1980,
    "DCGM_FI_DEV_MEM_CLOCK": 2619,
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.8,
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0.4,
    "DCGM_FI_PROF_DRAM_ACTIVE": 0.25,
    "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": 57,
    "DCGM_FI_DEV_XID_ERRORS": 48,
}
FIRST = {
    "dcgm_gpu_utilization": 83,
    "dcgm_mem_copy_utilization": 27,
    "dcgm_fb_used": 20000,
    "dcgm_fb_free": 60000,
    "dcgm_power_usage": 412.75,
    "dcgm_gpu_temp": 61,
    "dcgm_sm_clock": 1980,
    "dcgm_memory_clock": 2619,
    "dcgm_fi_prof_gr_engine_active": 0.8,
    "dcgm_fi_prof_pipe_tensor_active": 0.4,
    "dcgm_fi_prof_dram_active": 0.25,
    "dcgm_nvlink_bandwidth_total": 57,
    "dcgm_xid_errors": 48,
}
# A list of collectors with DCGM 4.6's canonical names, where GPU_UTIL_RATIO is a percentage.
CANONICAL = {
    "DCGM_FI_DEV_GPU_UTIL_RATIO": 83,
    "DCGM_FI_DEV_MEM_COPY_UTIL": 27,
    "DCGM_FI_DEV_FB_USED": 20000,
    "DCGM_FI_DEV_FB_FREE": 60000,
    "DCGM_FI_DEV_BOARD_POWER_WATTS": 412.75,
    "DCGM_FI_DEV_GPU_TEMP_CELSIUS": 61,
    "DCGM_FI_DEV_SM_CLOCK_HERTZ": 1.98e9,
    "DCGM_FI_DEV_MEMORY_CLOCK_HERTZ": 2.619e9,
    "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO": 0.8,
    "DCGM_FI_PROF_TENSOR_UTIL_RATIO": 0.4,
    "DCGM_FI_PROF_DRAM_UTIL_RATIO": 0.25,
    "DCGM_FI_DEV_NVLINK_THROUGHPUT_TOTAL": 57,
    "DCGM_FI_DEV_XID_ERROR": 48,
}
# The defaults of dcgm-exporter 4.9 with DCGM 4.7: base units, and a ratio of 0 to 1.
BASE_UNITS = {
    **CANONICAL,
    "DCGM_FI_DEV_GPU_UTIL_RATIO": 0.83,
    "DCGM_FI_DEV_MEMORY_UTIL_RATIO": 0.27,
    "DCGM_FI_DEV_FB_USED_BYTES": 20000 * MIB,
    "DCGM_FI_DEV_FB_FREE_BYTES": 60000 * MIB,
    "DCGM_FI_DEV_NVLINK_THROUGHPUT_BYTES_PER_SECOND": 57 * 1_024_000,
}
for replaced in ("MEM_COPY_UTIL", "FB_USED", "FB_FREE", "NVLINK_THROUGHPUT_TOTAL"):
    del BASE_UNITS[f"DCGM_FI_DEV_{replaced}"]

RELEASES = {"old": OLD, "1.x": FIRST, "4.6": CANONICAL, "4.9": BASE_UNITS}
ANSWERS = {
    "gpu_utilization": "83",
    "gpu_utilization_sum": "166",
    "gpu_utilization_max": "83",
    "gpu_memory_copy_utilization": "27",
    "gpu_memory_used": "20971520k",
    "gpu_memory_used_sum": "41943040k",
    "gpu_memory_free": "62914560k",
    "gpu_memory_utilization": "25",
    "gpu_memory_utilization_sum": "50",
    "gpu_power_usage": "413",
    "gpu_power_usage_sum": "826",
    "gpu_temperature": "61",
    "gpu_sm_clock": "1980",
    "gpu_memory_clock": "2619",
    "gpu_tensor_utilization": "40",
    "gpu_tensor_utilization_sum": "80",
    "gpu_memory_bandwidth_utilization": "25",
    # Names from public HPAs, each in the unit that the name implies.
    "dcgm_gpu_utilization": "83",
    "dcgm_gpu_utilization_sum": "166",
    "dcgm_mem_copy_utilization": "27",
    "dcgm_fb_used": "20k",
    "dcgm_fb_used_sum": "40k",
    "dcgm_power_usage": "413",
    "dcgm_gpu_temp": "61",
    "dcgm_sm_clock": "1980",
    "dcgm_memory_clock": "2619",
    "dcgm_xid_errors": "48",
    "dcgm_nvlink_bandwidth_total": "57",
    "dcgm_fi_prof_gr_engine_active": "800m",
    "DCGM_FI_DEV_GPU_UTIL": "83",
    "dcgm_fi_dev_gpu_util_sum": "166",
    "DCGM_FI_DEV_GPU_UTIL_RATIO": "83",
    "DCGM_FI_DEV_MEM_COPY_UTIL": "27",
    "DCGM_FI_DEV_MEMORY_UTIL_RATIO": "270m",
    "DCGM_FI_DEV_FB_USED": "20k",
    "DCGM_FI_DEV_FB_USED_BYTES": "20971520k",
    "DCGM_FI_DEV_BOARD_POWER_WATTS": "413",
    "DCGM_FI_DEV_GPU_TEMP_CELSIUS": "61",
    "DCGM_FI_DEV_SM_CLOCK": "1980",
    "DCGM_FI_DEV_SM_CLOCK_HERTZ": "1980M",
    "DCGM_FI_DEV_SM_CLOCK_HERTZ_sum": "3960M",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": "800m",
    "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO": "800m",
    "DCGM_FI_PROF_TENSOR_UTIL_RATIO_sum": "800m",
    "DCGM_FI_DEV_XID_ERROR": "48",
    "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": "57",
    "DCGM_FI_DEV_NVLINK_THROUGHPUT_BYTES_PER_SECOND": "58368k",
}
PODS = ("a", "b")


def text_of(families: Mapping[str, float]) -> str:
    """A page on which each of two pods has a GPU with these values."""
    return "".join(
        page({("default", name): [value] for name in PODS}, family)
        for family, value in families.items()
    )


async def answers(client: Client, metrics: Mapping[str, str]) -> dict[str, str]:
    """The server's answer for each metric: its value, or its error."""
    answers: dict[str, str] = {}
    for metric in metrics:
        answer = await client.metric("default", metric)
        good = answer.status == HTTPStatus.OK
        answers[metric] = answer.item().value if good else answer.error().message
    return answers


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
async def test_every_name_finds_the_quantity_on_the_pages_of_all_releases(release: str) -> None:
    """An HPA's metric name, old or new, works with any release of the exporter."""
    async with cluster({"gpu-0": text_of(RELEASES[release])}, map(pod, PODS)) as simulated:
        assert await answers(simulated.client, ANSWERS) == ANSWERS


@pytest.mark.parametrize(
    ("value", "percent", "with_4_7"),
    [
        (0, 0, 0),
        (0.005, 0.5, 0.5),
        (0.83, 83, 83),
        (0.99, 99, 99),
        # 1 % in DCGM 4.6, and a fully busy GPU in 4.7: without a sign of either, it is neither.
        (1, None, 100),
        (1.0002, None, 100),
        (2, 2, 2),
        (83, 83, 83),
        (100, 100, 100),
        (101, None, None),
        (4294967295, None, None),
    ],
)
def test_the_ratio_that_is_percents_in_dcgm_4_6(
    value: float, percent: float | None, with_4_7: float | None
) -> None:
    """GPU_UTIL_RATIO is 0 to 100 in DCGM 4.6, and 0 to 1 from 4.7 on; these are not confused."""
    readings = RULES.find("gpu_utilization").readings
    text = page({("n", "p"): [value]}, "DCGM_FI_DEV_GPU_UTIL_RATIO")
    sign = page({("n", "p"): [1]}, "DCGM_FI_DEV_FB_USED_BYTES")
    for whole, expected in ((text, percent), (text + sign, with_4_7)):
        found = attribute(Sheet(whole.encode()), readings).by_pod.get(("n", "p"), {})
        assert len(found) == (expected is not None)
        if expected is not None:
            assert min(*found.values(), 100.0) == pytest.approx(expected)


def test_the_engine_replaces_a_ratio_that_is_ambiguous() -> None:
    """If GPU_UTIL_RATIO is exactly 1, the profiling field on the same page is the value."""
    text = text_of({"DCGM_FI_DEV_GPU_UTIL_RATIO": 1, "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO": 0.97})
    found = attribute(Sheet(text.encode()), RULES.find("gpu_utilization").readings).by_pod
    assert list(found["default", "a"].values()) == [pytest.approx(97)]


@given(st.floats(0, 100, allow_nan=False))
def test_utilization_of_a_percentage_is_that_percentage(value: float) -> None:
    """DCGM_FI_DEV_GPU_UTIL has never been a ratio: 1 is 1 %, and 0.83 is not 83 %."""
    text = page({("n", "p"): [value]})
    found = attribute(Sheet(text.encode()), RULES.find("gpu_utilization").readings).by_pod
    assert list(found["n", "p"].values()) == [value]


AMD = (
    'gpu_id="0",gpu_compute_partition_type="{type}",gpu_partition_id="{id}",hostname="gpu-0",'
    'namespace="default",pod="a"'
)


@pytest.mark.parametrize(
    ("kind", "partition"),
    [("spx", "NA"), ("none", "NA"), ("na", "NA"), ("spx", "4294967295"), ("", "4294967295")],
)
async def test_an_amd_gpu_that_cannot_be_partitioned_is_whole(kind: str, partition: str) -> None:
    """Activity of the GPU and its memory is read, whatever its partition is called."""
    labels = AMD.format(type=kind or "unknown", id=partition)
    text = "".join(
        f"{family}{{{labels}}} {value}\n"
        for family, value in (("gpu_gfx_activity", 83), ("gpu_umc_activity", 27))
    )
    wanted = {
        "gpu_utilization": "83",
        "gpu_memory_copy_utilization": "27",
        "gpu_memory_bandwidth_utilization": "27",
        "gpu_memory_bandwidth_utilization_sum": "27",
        "gpu_umc_activity": "27",
    }
    async with cluster({"gpu-0": text}, [pod("a", resource="amd.com/gpu")]) as simulated:
        assert await answers(simulated.client, wanted) == wanted


async def test_events_within_a_window_are_a_gauge() -> None:
    """DCGM_EXP_*_COUNT has a row for each kind of event; their mean is the GPU's value."""
    gpu = 'gpu="0",UUID="GPU-0",namespace="default",pod="a"'
    text = (
        f'DCGM_EXP_XID_ERRORS_COUNT{{{gpu},window_size_in_ms="300000",xid="31"}} 4\n'
        f'DCGM_EXP_XID_ERRORS_COUNT{{{gpu},window_size_in_ms="300000",xid="48"}} 1\n'
        f'DCGM_EXP_CLOCK_EVENTS_COUNT{{{gpu},clock_event="sw_power_cap"}} 7\n'
        f"DCGM_FI_DEV_RETIRED_PENDING{{{gpu}}} 2\n"
    )
    wanted = {
        "DCGM_EXP_XID_ERRORS_COUNT": "2500m",
        "DCGM_EXP_CLOCK_EVENTS_COUNT": "7",
        "DCGM_FI_DEV_RETIRED_PENDING": "2",
        "dcgm_retired_pages_pending": "2",
    }
    async with cluster({"gpu-0": text}, [pod("a")]) as simulated:
        assert await answers(simulated.client, wanted) == wanted


async def test_sums_are_found_but_only_those_of_the_catalogue_are_listed() -> None:
    """Discovery lists no gauge, and no sum of one."""
    async with cluster({"gpu-0": text_of(OLD)}, map(pod, PODS)) as simulated:
        body = (await simulated.client.ask("/apis/external.metrics.k8s.io/v1beta1")).text
        answer = await simulated.client.metric("default", "dcgm_fi_dev_gpu_temp_sum")
    assert answer.item().value == "122"
    assert '"gpu_temperature_sum"' in body
    assert "dcgm_" not in body.lower()
