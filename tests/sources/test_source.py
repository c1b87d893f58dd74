"""Only exporters on the pods' nodes are scraped."""

import time
from pathlib import Path

from metrics_server.measuring.samples import Collection
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.exporters.targets import StaticTargets
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor
from tests.support.collecting import RULE, Collect, Nodes, Serve, causes, pod, row, values


def assert_complete(collection: Collection) -> None:
    """Every pod is covered, so no gaps are reported."""
    assert (len(collection.samples), collection.gaps) == (collection.selected, ())


async def test_only_the_nodes_of_the_pods_are_scraped(
    serve: Serve, collect: Collect, scraped: list[str]
) -> None:
    """A node without any of the pods is not scraped, whatever else it runs."""
    urls = {f"n{n}": (await serve(row(f"p{n}", n)),) for n in range(4)}
    nodes = Nodes(urls)
    found = await collect(nodes, [pod("p1", "n1"), pod("p3", "n3")])
    assert values(found) == [(1,), (3,)]
    assert_complete(found)
    assert nodes.selected == {"n1", "n3"}
    assert sorted(scraped) == sorted([*urls["n1"], *urls["n3"]])


async def test_a_pod_with_several_gpus(serve: Serve, collect: Collect, pages: Path) -> None:
    """A pod has one value for each of its GPUs; pods on one node share its page."""
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
    """A sample counts only for its namespace."""
    url = await serve(row("p", 50))
    found = await collect(Nodes({"n1": (url,)}), [pod("p", namespace="other")])
    assert found.samples == ()
    assert causes(found)["no-sample"][0] == "the exporters answered but gave no value for pod p"


async def test_two_exporters_on_one_node(serve: Serve, collect: Collect) -> None:
    """A pod's GPUs may be reported by either; one that both report counts once."""
    first = await serve(row("p", 20, "GPU-1") + row("p", 40, "GPU-2"))
    second = await serve(row("p", 40, "GPU-2") + row("p", 90, "GPU-3"))
    found = await collect(Nodes({"n1": (first, second)}), [pod("p", gpus=3)])
    assert [sorted(gpus) for gpus in values(found)] == [[20, 40, 90]]
    assert_complete(found)


async def test_the_older_of_two_pages_dates_the_sample(serve: Serve, monitor: Monitor) -> None:
    """A sample is as old as its oldest page."""
    times = iter([1000.0, 1000.0, 2000.0, 2000.0])
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
    """A pod reported by the other one is covered: there is no gap."""
    good, bad = await serve(row("p", 20)), "http://127.0.0.1:1/metrics"
    found = await collect(Nodes({"n1": (bad, good)}), [pod("p")])
    assert values(found) == [(20,)]
    assert_complete(found)


async def test_a_static_list(serve: Serve, collect: Collect) -> None:
    """All listed exporters are scraped: their nodes are unknown, and pods are found by name."""
    urls = [await serve(row("p1", 10)), await serve(row("p2", 30))]
    found = await collect(StaticTargets(urls), [pod("p1", "n1"), pod("p2", "n2"), pod("p3", "n3")])
    assert values(found) == [(10,), (30,)]
    assert causes(found)["no-sample"][0] == "the exporters answered but gave no value for pod p3"


async def test_no_pods(collect: Collect) -> None:
    """Without pods there is nothing to measure."""
    found = await collect(Nodes({}), [])
    assert (found.selected, found.samples) == (0, ())
    assert_complete(found)


async def test_a_node_without_exporter(serve: Serve, collect: Collect) -> None:
    """Nodes without an exporter are named, each once; the other pods are measured."""
    url = await serve(row("p1", 10))
    pods = [pod("p1", "n1"), pod("p2", "n2"), pod("p3", "n2"), pod("p4", "n4")]
    found = await collect(Nodes({"n1": (url,)}), pods)
    assert (found.selected, values(found)) == (4, [(10,)])
    (gap,) = found.gaps
    assert gap.reason == "no-exporter"
    assert gap.text.startswith("no exporter is ready on node n2, node n4 (is one Running there,")


async def test_a_static_list_without_nodes(collect: Collect) -> None:
    """A pod with an unknown node is reported as such."""
    found = await collect(Nodes({}), [pod("p", "")])
    assert found.gaps[0].text.startswith("no exporter is ready on any node (")
