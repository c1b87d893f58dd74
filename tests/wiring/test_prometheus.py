"""A whole server with a real Prometheus as its source, over TLS and behind a path prefix."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from metrics_server.tls.authority import Authority
from tests.support.exporters import PageExporter, page
from tests.support.harness import Cluster, cluster, configuration
from tests.support.objects import pod
from tests.support.peers import HOST
from tests.support.prometheus import Prometheus, behind_tls, running_beside
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

BUSY = page({("default", "a"): [10], ("default", "b"): [30]})


@asynccontextmanager
async def scraping(
    folder: Path, settings: Mapping[str, object], pages: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Cluster, Prometheus, PageExporter]]:
    """A server whose Prometheus scrapes an exporter; its own exporters serve these pages."""
    authority = Authority("monitoring")
    ca = folder / "monitoring.crt"
    ca.write_bytes(authority.bundle)
    async with PageExporter(BUSY) as exporter:
        job = {
            "job_name": "dcgm",
            "scrape_interval": "200ms",
            "scrape_timeout": "200ms",
            "honor_labels": True,
            "static_configs": [{"targets": [f"{HOST}:{exporter.port}"]}],
        }
        prometheus = Prometheus(
            folder,
            scrape=[job],
            prefix="/prometheus",
            web=behind_tls(folder, authority.issue([HOST])),
        )
        async with running_beside(prometheus):
            config = configuration(
                {
                    "exporters": {"maxAge": "50ms"},
                    "prometheus": {
                        "url": prometheus.url,
                        "tls": {"caFile": str(ca)},
                        **settings,
                    },
                }
            )
            pods = [pod("a"), pod("b")]
            async with cluster(pages or {}, pods, config) as made:
                yield made, prometheus, exporter


async def test_only_prometheus(tmp_path: Path) -> None:
    """Every metric comes from it; changes at the exporter reach answers, and outages are named."""
    async with scraping(tmp_path, {"use": "only"}) as (made, prometheus, exporter):
        answer = await eventually(
            lambda: made.client.metric("default", "gpu_utilization", "app=inference"),
            lambda one: one.status == 200,
        )
        item = answer.item()
        assert item.value == "20"
        assert item.metric_labels == {"source": "prometheus", "pods": "2/2"}
        exporter.page = page({("default", "a"): [60], ("default", "b"): [80]})
        await eventually(
            lambda: made.client.metric("default", "gpu_utilization", "app=inference"),
            lambda one: one.status == 200 and one.item().value == "70",
        )
        prometheus.kill()
        failed = await eventually(
            lambda: made.client.metric("default", "gpu_utilization", "app=inference"),
            lambda one: one.status == 503,
        )
        assert "Prometheus could not be reached" in failed.error().message
        assert (await made.client.ask("/readyz")).status == 200


async def test_prometheus_fills_the_gaps(tmp_path: Path) -> None:
    """A pod missing from its node's exporter is measured by the second source."""
    own = {"gpu-0": page({("default", "a"): [50]})}
    async with scraping(tmp_path, {"use": "second"}, own) as (made, _, _):
        answer = await eventually(
            lambda: made.client.metric("default", "gpu_utilization", "app=inference"),
            lambda one: one.status == 200 and one.item().metric_labels["pods"] == "2/2",
        )
        item = answer.item()
        assert item.value == "40", "50 of the exporter now, 30 of Prometheus"
        assert item.metric_labels["source"] == "exporters+prometheus"
        made.exporters["gpu-0"].page = BUSY
        await eventually(
            lambda: made.client.metric("default", "gpu_utilization", "app=inference"),
            lambda one: one.item().metric_labels["source"] == "exporters",
        )
