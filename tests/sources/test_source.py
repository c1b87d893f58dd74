"""Pods are measured at the exporters of their nodes: real pages, on real sockets."""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from msgspec import structs
from pytest_aiohttp import AiohttpRawServer

from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, TargetFailure
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.exporters.targets import StaticTargets, Targets
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor

RULE = MetricRule(
    name="gpu_utilization",
    help="of the test",
    unit="percent",
    readings=(
        Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100),
        Reading("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0, 1.01, scale=100),
    ),
    maximum=100,
)

Serve = Callable[[bytes], Awaitable[str]]
Collect = Callable[[Targets, Iterable[Pod]], Awaitable[Collection]]


def pod(name: str, node: str = "n1", namespace: str = "inference", gpus: int = 1) -> Pod:
    """A ready pod with GPUs."""
    return Pod(namespace, name, {}, node, "Running", ready=True, terminating=False, gpus=gpus)


def row(pod_name: str, value: float, gpu: str = "GPU-1", family: str = "GPU_UTIL") -> bytes:
    """A row of a page, of a pod in the namespace inference."""
    name = "DCGM_FI_PROF_GR_ENGINE_ACTIVE" if family == "GR_ENGINE" else f"DCGM_FI_DEV_{family}"
    labels = f'gpu="0",UUID="{gpu}",namespace="inference",pod="{pod_name}",container="c"'
    return f"{name}{{{labels}}} {value}\n".encode()


class Nodes:
    """The exporters of each node, as the test says, and which nodes were asked for."""

    def __init__(self, urls: Mapping[str, tuple[str, ...]]) -> None:
        self.selected: set[str] = set()
        self._urls = urls

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The URLs of these nodes."""
        asked = set(nodes)
        self.selected |= asked
        return {node: self._urls.get(node, ()) for node in asked}


@pytest.fixture
def scraped() -> list[str]:
    """The ports that were scraped, in order."""
    return []


@pytest.fixture
async def serve(aiohttp_raw_server: AiohttpRawServer, scraped: list[str]) -> Serve:
    """Starts an exporter with this page and returns its URL."""

    async def start(page: bytes) -> str:
        async def answer(request: web.BaseRequest) -> web.Response:
            scraped.append(f"http://{request.host}/metrics")
            return web.Response(body=page, content_type="text/plain", charset="utf-8")

        server = await aiohttp_raw_server(answer)
        return str(server.make_url("/metrics"))

    return start


@pytest.fixture
async def collect(monitor: Monitor) -> AsyncIterator[Collect]:
    """Measures pods by the rule for gpu_utilization."""
    async with Scraper(Page, timeout=5, max_age=60, max_concurrency=8, monitor=monitor) as scraper:

        async def measure(targets: Targets, pods: Iterable[Pod]) -> Collection:
            return await ExporterSource(targets, scraper).collect(RULE, tuple(pods))

        yield measure


def values(collection: Collection) -> list[tuple[float, ...]]:
    """The values of the GPUs of each pod that is covered."""
    return [sample.gpus for sample in collection.samples]


def assert_complete(collection: Collection) -> None:
    """Every pod is covered, so no gaps are reported."""
    assert len(collection.samples) == collection.selected
    gaps = (
        collection.nodes_without_exporter,
        collection.failures,
        collection.pods_without_sample,
        collection.hints,
    )
    assert gaps == ((), (), (), ())


async def test_only_the_nodes_of_the_pods_are_scraped(
    serve: Serve, collect: Collect, scraped: list[str]
) -> None:
    """A node that runs none of the pods is not asked, whatever else it runs."""
    urls = {f"n{n}": (await serve(row(f"p{n}", n)),) for n in range(4)}
    nodes = Nodes(urls)
    found = await collect(nodes, [pod("p1", "n1"), pod("p3", "n3")])
    assert values(found) == [(1,), (3,)]
    assert_complete(found)
    assert nodes.selected == {"n1", "n3"}
    assert sorted(scraped) == sorted([*urls["n1"], *urls["n3"]])


async def test_a_pod_with_several_gpus(serve: Serve, collect: Collect, pages: Path) -> None:
    """A pod has one value for each of its GPUs; pods of one node share its page."""
    url = await serve((pages / "dcgm-3.x-8gpu-multi-pod.prom").read_bytes())
    before = time.monotonic()
    found = await collect(
        Nodes({"n1": (url,)}),
        [
            pod("vllm-llama3-70b-7c9d8b6f5d-4xkqp", gpus=2),
            pod("vllm-llama3-70b-7c9d8b6f5d-tz9lm", gpus=2),
            pod("embedder-5f6b4c7d9c-h2v8w"),
        ],
    )
    assert values(found) == [(93, 95), (41, 38), (12,)]
    assert_complete(found)
    assert all(before <= sample.timestamp <= time.monotonic() for sample in found.samples)


async def test_a_pod_of_the_same_name_elsewhere_is_another(serve: Serve, collect: Collect) -> None:
    """A sample counts for the namespace that it names."""
    url = await serve(row("p", 50))
    found = await collect(Nodes({"n1": (url,)}), [pod("p", namespace="other")])
    assert (found.samples, found.pods_without_sample) == ((), ("pod p",))


async def test_two_exporters_on_one_node(serve: Serve, collect: Collect) -> None:
    """The GPUs of a pod may be reported by either; one that both report counts once."""
    first = await serve(row("p", 20, "GPU-1") + row("p", 40, "GPU-2"))
    second = await serve(row("p", 40, "GPU-2") + row("p", 90, "GPU-3"))
    found = await collect(Nodes({"n1": (first, second)}), [pod("p", gpus=3)])
    assert [sorted(gpus) for gpus in values(found)] == [[20, 40, 90]]
    assert_complete(found)


async def test_the_older_of_two_pages_dates_the_sample(serve: Serve, monitor: Monitor) -> None:
    """A sample is as old as the oldest page that it is made from."""
    times = iter([1000.0, 2000.0, 3000.0])
    clock_now = [0.0]

    def clock() -> float:
        clock_now[0] = next(times, clock_now[0])
        return clock_now[0]

    first, second = await serve(row("p", 20, "GPU-1")), await serve(row("p", 40, "GPU-2"))
    async with Scraper(
        Page, timeout=5, max_age=1e6, max_concurrency=8, monitor=monitor, clock=clock
    ) as scraper:
        await scraper.scrape([first])
        source = ExporterSource(Nodes({"n1": (first, second)}), scraper)
        found = await source.collect(RULE, [pod("p", gpus=2)])
    assert [sample.timestamp for sample in found.samples] == [1000]
    assert values(found) == [(20, 40)]


async def test_one_of_two_exporters_fails(serve: Serve, collect: Collect) -> None:
    """A pod that the other one reports is covered: there is no gap."""
    good, bad = await serve(row("p", 20)), f"http://127.0.0.1:{unused_port()}/metrics"
    found = await collect(Nodes({"n1": (bad, good)}), [pod("p")])
    assert values(found) == [(20,)]
    assert_complete(found)


async def test_a_static_list(serve: Serve, collect: Collect) -> None:
    """Listed exporters are all asked: their nodes are not known, and pods are found by name."""
    urls = [await serve(row("p1", 10)), await serve(row("p2", 30))]
    found = await collect(StaticTargets(urls), [pod("p1", "n1"), pod("p2", "n2"), pod("p3", "n3")])
    assert values(found) == [(10,), (30,)]
    assert found.pods_without_sample == ("pod p3",)


async def test_no_pods(collect: Collect) -> None:
    """Of no pods there is nothing to measure."""
    found = await collect(Nodes({}), [])
    assert (found.selected, found.samples) == (0, ())
    assert_complete(found)


async def test_a_node_without_exporter(serve: Serve, collect: Collect) -> None:
    """Nodes without an exporter are named, each once; the other pods are measured."""
    url = await serve(row("p1", 10))
    pods = [pod("p1", "n1"), pod("p2", "n2"), pod("p3", "n2"), pod("p4", "n4")]
    found = await collect(Nodes({"n1": (url,)}), pods)
    assert (found.selected, values(found)) == (4, [(10,)])
    assert found.nodes_without_exporter == ("node n2", "node n4")
    assert (found.failures, found.pods_without_sample, found.hints) == ((), (), ())


async def test_a_static_list_without_nodes(collect: Collect) -> None:
    """A pod whose node is not known is reported as such."""
    found = await collect(Nodes({}), [pod("p", "")])
    assert found.nodes_without_exporter == ("any node",)


async def test_a_failed_exporter(serve: Serve, collect: Collect) -> None:
    """A failed exporter is named once, with how it failed; its pods are not without a sample."""
    good = await serve(row("p1", 10))
    not_found = await serve(b"no end of line")
    bad = {"n1": (good,), "n2": (not_found,)}
    found = await collect(Nodes(bad), [pod("p1"), pod("p2", "n2"), pod("p3", "n2")])
    assert values(found) == [(10,)]
    assert found.failures == (
        TargetFailure(not_found, "cut its page short: the last line has no line feed"),
    )
    assert (found.nodes_without_exporter, found.pods_without_sample, found.hints) == ((), (), ())


async def test_a_pod_without_a_sample(serve: Serve, collect: Collect, pages: Path) -> None:
    """A page that names other pods and not this one is said to."""
    url = await serve((pages / "dcgm-3.x-8gpu-multi-pod.prom").read_bytes())
    found = await collect(Nodes({"n1": (url,)}), [pod("newcomer")])
    assert (found.samples, found.pods_without_sample) == ((), ("pod newcomer",))
    assert (found.failures, found.nodes_without_exporter) == ((), ())
    (hint,) = found.hints
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
    """Why a page has no value for a pod is reported as one clause."""
    url = await serve((pages / page).read_bytes())
    found = await collect(Nodes({"n1": (url,)}), [pod("p")])
    assert (found.samples, found.pods_without_sample) == ((), ("pod p",))
    assert found.hints == (hint,)


async def test_sentinels_are_rejected(serve: Serve, monitor: Monitor, pages: Path) -> None:
    """DCGM's sentinels are not values: a pod with one on a GPU is missing, with the reason."""
    rule = structs.replace(RULE, readings=RULE.readings[:1])
    url = await serve((pages / "dcgm-sentinel-values.prom").read_bytes())
    name = "vllm-llama3-70b-7c9d8b6f5d-4xkqp"
    async with Scraper(Page, timeout=5, max_age=60, max_concurrency=8, monitor=monitor) as scraper:
        source = ExporterSource(Nodes({"n1": (url,)}), scraper)
        found = await source.collect(rule, [pod(name, gpus=4)])
    assert (found.samples, found.pods_without_sample) == ((), (f"pod {name}",))
    assert [re.sub("[0-9]+", "N", hint) for hint in found.hints] == [
        "values rejected as out of range: N"
    ]


async def test_conflicting_values_are_rejected(serve: Serve, collect: Collect) -> None:
    """A GPU with two values is missing, rather than one of them or their mean."""
    url = await serve(row("p", 61) + row("p", 58) + row("q", 7, "GPU-2"))
    found = await collect(Nodes({"n1": (url,)}), [pod("p"), pod("q")])
    assert (values(found), found.pods_without_sample) == ([(7,)], ("pod p",))
    assert found.hints == ("GPUs rejected for having two different values: 1",)


async def test_hints_are_of_the_pages_of_uncovered_pods(serve: Serve, collect: Collect) -> None:
    """A page that answers for its pod does not explain the gap of another node."""
    odd = await serve(row("p1", 10) + row("x", 999, "GPU-9"))
    plain = await serve(row("y", 10))
    found = await collect(Nodes({"n1": (odd,), "n2": (plain,)}), [pod("p1"), pod("p2", "n2")])
    assert found.pods_without_sample == ("pod p2",)
    assert [hint.partition(",")[0] for hint in found.hints] == ["the page names other pods"]


@pytest.mark.parametrize(("ratio", "percent"), [(1.0, 100), (1.004, 100), (0.995, 99.5), (0.0, 0)])
async def test_no_gpu_is_busier_than_all_of_the_time(
    serve: Serve, collect: Collect, ratio: float, percent: float
) -> None:
    """A profiling ratio a little above 1 is held to the rule's maximum after scaling."""
    url = await serve(row("p", ratio, family="GR_ENGINE"))
    found = await collect(Nodes({"n1": (url,)}), [pod("p")])
    assert found.samples[0].gpus == pytest.approx((percent,))
    assert found.samples[0].gpus[0] <= RULE.maximum


async def test_the_rule_says_what_is_read(serve: Serve, monitor: Monitor) -> None:
    """Another rule reads another family of the same page, in its own unit."""
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
    assert found.pods_without_sample == ("pod r",)


async def test_a_claim_may_be_for_a_gpu_that_the_family_leaves_out(
    serve: Serve, collect: Collect
) -> None:
    """A claim may be for several GPUs: that the family has as many as were counted says little."""
    claims = structs.replace(pod("p", gpus=2), shareable=1)
    two = row("p", 10) + row("p", 30, "GPU-2")
    whole, part = await serve(two), await serve(two + row("p", 40, "GPU-3", "GPU_TEMP"))
    assert values(await collect(Nodes({"n1": (whole,)}), [claims])) == [(10, 30)]
    assert values(await collect(Nodes({"n1": (part,)}), [claims])) == []
