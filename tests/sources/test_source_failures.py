"""Pods without a sample, and why."""

import re
from pathlib import Path

import pytest
from msgspec import structs

from metrics_server.measuring.samples import Collection
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor
from tests.support.collecting import RULE, Collect, Nodes, Serve, causes, pod, row, values


def hint_for(collection: Collection, pod_name: str) -> str:
    """The only cause, besides that the exporters answered without a value for this pod."""
    ((reason, (answered, hint)),) = causes(collection).items()
    assert reason == "no-sample"
    assert answered == f"the exporters answered but gave no value for pod {pod_name}"
    return hint


async def test_a_failed_exporter(serve: Serve, collect: Collect) -> None:
    """A failed exporter is named once, with its error; its pods have no other cause."""
    good = await serve(row("p1", 10))
    not_found = await serve(b"no end of line")
    bad = {"n1": (good,), "n2": (not_found,)}
    found = await collect(Nodes(bad), [pod("p1"), pod("p2", "n2"), pod("p3", "n2")])
    assert values(found) == [(10,)]
    cut = f"exporter {not_found} cut its page short: the last line has no line feed"
    assert causes(found) == {"exporters-failed": [cut]}


async def test_a_pod_without_a_sample(serve: Serve, collect: Collect, pages: Path) -> None:
    """The hint says that a page names other pods, but not this one."""
    url = await serve((pages / "dcgm-3.x-8gpu-multi-pod.prom").read_bytes())
    found = await collect(Nodes({"n1": (url,)}), [pod("newcomer")])
    assert found.samples == ()
    hint = hint_for(found, "newcomer")
    assert hint.startswith("the page names other pods, but not pod newcomer, and no pod for 1 of")


@pytest.mark.parametrize(
    ("page", "hint"),
    [
        (
            "dcgm-empty.prom",
            "a page was empty, as is normal until a new exporter's first interval has passed",
        ),
        (
            "dcgm-no-kubernetes.prom",
            (
                "the page names no pods at all: the exporter needs DCGM_EXPORTER_KUBERNETES=true "
                "and the kubelet's pod-resources socket"
            ),
        ),
    ],
)
async def test_hints(serve: Serve, collect: Collect, pages: Path, page: str, hint: str) -> None:
    """The reason why a page has no value for a pod is a single clause."""
    url = await serve((pages / page).read_bytes())
    found = await collect(Nodes({"n1": (url,)}), [pod("p")])
    assert found.samples == ()
    assert hint_for(found, "p") == hint


async def test_sentinels_are_rejected(serve: Serve, monitor: Monitor, pages: Path) -> None:
    """DCGM's sentinels are not values: a pod with one on a GPU is missing, with the reason."""
    rule = structs.replace(RULE, readings=RULE.readings[:1])
    url = await serve((pages / "dcgm-sentinel-values.prom").read_bytes())
    name = "vllm-llama3-70b-7c9d8b6f5d-4xkqp"
    async with Scraper(Page, timeout=5, max_age=60, max_concurrency=8, monitor=monitor) as scraper:
        source = ExporterSource(Nodes({"n1": (url,)}), scraper)
        found = await source.collect(rule, [pod(name, gpus=4)])
    assert found.samples == ()
    hint = hint_for(found, name)
    assert re.sub("[0-9]+", "N", hint) == "values rejected as out of range: N"


async def test_conflicting_values_are_rejected(serve: Serve, collect: Collect) -> None:
    """A GPU with two values is missing; neither of them nor their mean is used."""
    url = await serve(row("p", 61) + row("p", 58) + row("q", 7, "GPU-2"))
    found = await collect(Nodes({"n1": (url,)}), [pod("p"), pod("q")])
    assert values(found) == [(7,)]
    assert hint_for(found, "p") == "GPUs rejected for having two different values: 1"


async def test_hints_are_of_the_pages_of_uncovered_pods(serve: Serve, collect: Collect) -> None:
    """A page with its pod's value does not explain another node's gap."""
    odd = await serve(row("p1", 10) + row("x", 999, "GPU-9"))
    plain = await serve(row("y", 10))
    found = await collect(Nodes({"n1": (odd,), "n2": (plain,)}), [pod("p1"), pod("p2", "n2")])
    assert hint_for(found, "p2").startswith("the page names other pods,")


@pytest.mark.parametrize(("ratio", "percent"), [(1.0, 100), (1.004, 100), (0.995, 99.5), (0.0, 0)])
async def test_no_gpu_is_busier_than_all_of_the_time(
    serve: Serve, collect: Collect, ratio: float, percent: float
) -> None:
    """A profiling ratio a little above 1 is capped at the rule's maximum after scaling."""
    url = await serve(row("p", ratio, family="GR_ENGINE"))
    found = await collect(Nodes({"n1": (url,)}), [pod("p")])
    assert found.samples[0].gpus == pytest.approx((percent,))
    assert found.samples[0].gpus[0] <= RULE.maximum


async def test_the_rule_says_what_is_read(serve: Serve, monitor: Monitor) -> None:
    """Another rule reads another family on the same page, in its own unit."""
    rule = MetricRule(
        name="memory",
        help="of the test",
        unit="bytes",
        readings=(Reading("DCGM_FI_DEV_FB_USED", 0, 100, scale=1024),),
        maximum=50 * 1024,
    )
    url = await serve(
        row("p", 99) + row("p", 3, family="FB_USED") + row("q", 50.4, family="FB_USED")
    )
    async with Scraper(Page, timeout=5, max_age=60, max_concurrency=8, monitor=monitor) as scraper:
        source = ExporterSource(Nodes({"n1": (url,)}), scraper)
        found = await source.collect(rule, [pod("p"), pod("q"), pod("r")])
    assert values(found) == [(3072,), (51200,)]
    assert found.gaps[0].text == "the exporters answered but gave no value for pod r"


async def test_a_claim_may_be_for_a_gpu_that_the_family_leaves_out(
    serve: Serve, collect: Collect
) -> None:
    """A claim may be for several GPUs, so the number of values in a family proves little."""
    claims = structs.replace(pod("p", gpus=2), shareable=1)
    two = row("p", 10) + row("p", 30, "GPU-2")
    whole, part = await serve(two), await serve(two + row("p", 40, "GPU-3", "GPU_TEMP"))
    assert values(await collect(Nodes({"n1": (whole,)}), [claims])) == [(10, 30)]
    assert values(await collect(Nodes({"n1": (part,)}), [claims])) == []
