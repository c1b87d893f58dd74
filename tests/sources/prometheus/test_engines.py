"""The golden table of engines through a real Prometheus, and rates from its stored samples."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest
from msgspec import structs

from metrics_server.config.rule_sources import used_with
from metrics_server.errors import NoSeriesMatchesError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.kube.series_selectors import split
from metrics_server.measuring.samples import Collection
from metrics_server.rules.model import MetricRule
from metrics_server.rules.serving import SERVING
from metrics_server.sources.prometheus.client import PrometheusClient, PrometheusSettings
from metrics_server.sources.prometheus.source import PrometheusSource
from metrics_server.telemetry.metrics import Monitor
from tests.sources.test_engines import PAGES, TABLE, GoldenPage
from tests.support.prometheus import Prometheus, running
from tests.support.scraped import Target, serving

pytestmark = pytest.mark.slow

RULES = {rule.name: used_with(rule, "only") for rule in SERVING}
# Pages that Prometheus rejects or reads in another format, or with old timestamps of their own.
REJECTED = {"broken", "openmetrics-form", "timestamps"}
# How relabelling may name a pod.
LABELS = {
    "endpoints": ("namespace", "pod"),
    "annotations": ("kubernetes_namespace", "kubernetes_pod_name"),
}


def pod(name: str, created: float = 0) -> Pod:
    """A pod that runs an engine."""
    return Pod(
        "llm", name, {}, "n1", "Running", ready=True, terminating=False, gpus=0, created=created
    )


async def collect(
    prometheus: Prometheus,
    monitor: Monitor,
    rule: MetricRule,
    pods: Sequence[Pod],
    required: Mapping[str, str] | None = None,
) -> Collection:
    """The source's result for these pods."""
    client = PrometheusClient(PrometheusSettings(url=prometheus.url, timeout=30))
    try:
        source = PrometheusSource(
            client, lambda _: pods, max_age=60, reuse=0, required=required, monitor=monitor
        )
        return await source.collect(rule, pods)
    finally:
        await client.close()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus that scrapes an engine for every page, with the labels of each way."""
    with ExitStack() as stack:
        pages = stack.enter_context(
            serving({f"{way}/{page}": body for way in LABELS for page, body in PAGES.items()})
        )
        targets = [
            Target(
                f"{way}/{page}",
                "pods",
                {"way": way, of: "llm", name: page, "instance": f"10.0.0.{number}:8000"},
            )
            for way, (of, name) in LABELS.items()
            for number, page in enumerate(PAGES)
        ]
        jobs = pages.jobs(targets, honor_labels=False)
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), scrape=jobs)
        stack.enter_context(running(prometheus))
        prometheus.wait_for_scrapes(len(targets))
        yield prometheus


@pytest.mark.parametrize("way", LABELS)
@pytest.mark.parametrize("golden", TABLE, ids=lambda one: one.page)
async def test_golden(scraped: Prometheus, monitor: Monitor, golden: GoldenPage, way: str) -> None:
    """Each value is that of the table, or is missing for the same reason."""
    required = {"way": way}
    for metric, row in golden.values.items():
        name, _, selector = metric.partition(" ")
        rule = RULES[name]
        if selector:
            rule = structs.replace(rule, series=split(parse_selector(selector))[1])
        if selector and row.value is None and golden.page not in REJECTED:
            with pytest.raises(NoSeriesMatchesError):
                await collect(scraped, monitor, rule, [pod(golden.page)], required)
            continue
        found = await collect(scraped, monitor, rule, [pod(golden.page)], required)
        if row.value is None or golden.page in REJECTED:
            assert not found.samples, metric
            words = [row.none, "Prometheus has no series", "has fewer than 2 samples"]
            assert any(one in found.gaps[0].text for one in words), found.gaps
        else:
            (sample,) = found.samples
            assert sample.gpus[0] == pytest.approx(row.value, rel=1e-12), metric


INTERVAL, SAMPLES = 5, 36
# The increase in each interval, for each bucket.
BUCKETS = {"0.1": 60.0, "0.5": 90.0, "2.5": 100.0, "+Inf": 100.0}


def stored(now: float, names: dict[str, float]) -> str:
    """Counters that grew steadily from some time, each until this many seconds ago."""
    lines = []
    for name, ago in names.items():
        labels = f'namespace="llm",pod="{name}",instance="10.0.0.1:8000",job="pods"'
        for number in range(SAMPLES):
            at = now - ago - (SAMPLES - 1 - number) * INTERVAL
            lines.append(f"vllm:generation_tokens_total{{{labels}}} {1e6 + 600 * number} {at:.3f}")
            lines += [
                f'vllm:time_to_first_token_seconds_bucket{{{labels},le="{le}"}} '
                f"{12000 + added * number} {at:.3f}"
                for le, added in BUCKETS.items()
            ]
    return "\n".join(sorted(lines, key=lambda line: line.partition("{")[0])) + "\n"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with three minutes of some pods' counters."""
    samples = stored(time.time(), {"web": 0, "old": 70})
    folder = tmp_path_factory.mktemp("prometheus")
    with running(Prometheus(folder, samples=samples)) as prometheus:
        yield prometheus


async def test_rates_and_quantiles(history: Prometheus, monitor: Monitor) -> None:
    """Rates are available at once, from stored samples, with the arithmetic of direct scraping."""
    tokens = await collect(history, monitor, RULES["llm_tokens_per_second"], [pod("web")])
    assert tokens.samples[0].gpus[0] == pytest.approx(120, rel=0.05)
    wait = await collect(history, monitor, RULES["llm_time_to_first_token_p95"], [pod("web")])
    # The 95th of 100 is the 5th of 10 between 0.5 and 2.5.
    assert wait.samples[0].gpus[0] == pytest.approx(1.5, rel=1e-6)
    assert time.monotonic() - 60 < wait.samples[0].timestamp < time.monotonic()


async def test_a_rate_begins_with_the_pod(history: Prometheus, monitor: Monitor) -> None:
    """An earlier pod of the same name does not count, and the error says if too little is left."""
    rule = RULES["llm_tokens_per_second"]
    found = await collect(history, monitor, rule, [pod("web", time.time() - 40)])
    assert found.samples[0].gpus[0] == pytest.approx(120, rel=0.2)
    found = await collect(history, monitor, rule, [pod("web", time.time() + 5)])
    assert "before the pod was created" in found.gaps[0].text


async def test_old_samples_do_not_count(history: Prometheus, monitor: Monitor) -> None:
    """Prometheus returns them for five minutes; the server rejects them after prometheus.maxAge."""
    found = await collect(history, monitor, RULES["llm_tokens_per_second"], [pod("old")])
    assert not found.samples
    assert "s old, and prometheus.maxAge is 60 s" in found.gaps[0].text
