"""Answers while pods drain: Ready pods x answer equals the actual work."""

import pytest

from tests.support.exporters import page
from tests.support.harness import cluster, configuration
from tests.support.objects import pod


def name(number: int) -> tuple[str, str]:
    """A pod, as a page names it."""
    return ("default", f"p{number}")


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("gpu_utilization", "50"),
        ("gpu_utilization_sum", "200"),
        ("gpu_utilization_max", "80"),
    ],
)
async def test_a_pod_that_drains_counts(metric: str, value: str) -> None:
    """Two of four Ready pods drain: one still works; one gave its GPU back, and counts as 0."""
    pods = [pod("p0"), pod("p1"), pod("p2", deleted=True), pod("p3", deleted=True)]
    text = page({name(0): [80], name(1): [80], name(2): [40]})
    async with cluster({"gpu-0": text}, pods) as simulated:
        item = (await simulated.client.metric("default", metric)).item()
    assert (item.value, item.metric_labels["pods"]) == (value, "4/4")


async def test_ready_pods_times_the_mean_is_never_more_than_the_work() -> None:
    """200 over seven pods is 28.57: if it were reported as 29, the HPA would add a replica for it.

    With a target of 50 it computes 7 x 28.571 / 50, rounded up 4, as for the four that stay.
    """
    pods = [pod(f"p{n}", deleted=n >= 4) for n in range(7)]
    text = page({name(n): [50] for n in range(4)})
    async with cluster({"gpu-0": text}, pods) as simulated:
        item = (await simulated.client.metric("default", "gpu_utilization")).item()
    assert item.value == "28571m"


@pytest.mark.parametrize("metric", ["gpu_utilization", "gpu_utilization_sum"])
async def test_pods_that_have_drained_measure_nothing_for_others(metric: str) -> None:
    """If the remaining pods have no value, the zeros of the leaving ones are not the answer."""
    pods = [
        *(pod(f"p{n}", node="gpu-0") for n in range(2)),
        *(pod(f"p{n}", node="gpu-1", deleted=True) for n in range(2, 10)),
    ]
    free = page({("other", "pod"): [7]})
    async with cluster({"gpu-0": "", "gpu-1": free}, pods) as simulated:
        error = (await simulated.client.metric("default", metric)).error()
    assert error.code == 503
    assert error.message.startswith("0 of 2 pods have a measurement: ")


async def test_pods_without_a_sample_count_as_those_that_have_one() -> None:
    """They do not count as the mean of these and the drained ones."""
    pods = [
        *(pod(f"p{n}", node=f"gpu-{n}") for n in range(2)),
        *(pod(f"p{n}", node="gpu-0", deleted=True) for n in range(2, 4)),
    ]
    async with cluster({"gpu-0": page({name(0): [60]}), "gpu-1": ""}, pods) as simulated:
        mean = (await simulated.client.metric("default", "gpu_utilization")).item()
        total = (await simulated.client.metric("default", "gpu_utilization_sum")).item()
    assert (mean.value, total.value) == ("30", "120")
    assert mean.metric_labels["pods"] == "3/4"


async def test_a_pod_whose_node_was_not_read_is_not_idle() -> None:
    """It drains, but its exporter fails: it is missing, and counts as the mean of the others."""
    pods = [
        pod("p0", node="gpu-0"),
        pod("p1", node="gpu-0"),
        pod("p2", node="gpu-1", deleted=True),
    ]
    text = page({name(0): [60], name(1): [60]})
    async with cluster({"gpu-0": text, "gpu-1": text}, pods) as simulated:
        simulated.exporters["gpu-1"].status = 500
        item = (await simulated.client.metric("default", "gpu_utilization")).item()
    assert (item.value, item.metric_labels["pods"]) == ("60", "2/3")


async def test_pods_measured_while_running_need_one_that_is_ready() -> None:
    """Four load at 95 %: the HPA would multiply by 0 Ready pods, and scale to its minimum."""
    pods = [pod(f"p{n}", ready=False) for n in range(4)]
    text = page({name(n): [95] for n in range(4)})
    config = configuration({"pods": {"measure": "running"}, "fallback": {"chain": ["simulated"]}})
    async with cluster({"gpu-0": text}, pods, config) as simulated:
        error = (await simulated.client.metric("default", "gpu_utilization")).error()
    assert error.code == 503
    assert "4 Running but not Ready" in error.message
