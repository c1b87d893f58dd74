"""The version, the health checks and the server's own metrics."""

import pytest
from aiohttp import hdrs
from prometheus_client.parser import text_string_to_metric_families

from tests.support.app import METRIC
from tests.support.clients import Client
from tests.support.harness import Cluster


async def test_the_version(client: Client) -> None:
    """/version has each field of Kubernetes' version.Info."""
    version = (await client.ask("/version?timeout=5s")).json()
    assert set(version) == {
        "major",
        "minor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    }


async def test_verbose_health_lists_the_checks(client: Client) -> None:
    """?verbose lists each check; readiness includes those of liveness."""
    live = (await client.ask("/livez?verbose")).text.splitlines()
    ready = (await client.ask("/readyz?verbose=true")).text.splitlines()
    assert live[0] == "[+]ping ok"
    assert {"[+]watch-pods ok", "[+]watch-endpointslices ok"} < set(live)
    assert live[-1] == "livez check passed"
    assert set(live[:-1]) < set(ready)
    synced = {"[+]pods-synced ok", "[+]endpointslices-synced ok", "[+]trust-synced ok"}
    assert {*synced, "[+]certificate ok", "[+]shutdown ok"} < set(ready)
    assert ready[-1] == "readyz check passed"


async def test_a_check_can_be_asked_for_alone_or_left_out(
    client: Client, simulated: Cluster
) -> None:
    """A failing check fails on its own path, and not where it is excluded."""
    simulated.server.stopping.set()
    assert (await client.ask("/livez")).status == 200
    assert (await client.ask("/readyz/pods-synced")).text == "ok"
    failing = await client.ask("/readyz/shutdown/")
    assert failing.status == 500
    assert failing.text.startswith("internal server error: ")
    whole = await client.ask("/readyz")
    assert whole.status == 500
    assert "[-]shutdown failed: " in whole.text
    assert "[+]pods-synced ok\n" in whole.text
    assert (await client.ask("/readyz?exclude=shutdown")).text == "ok"
    unknown = await client.ask("/readyz?exclude=shutdown&exclude=%FF&verbose")
    assert unknown.status == 200
    assert "[+]shutdown excluded: ok\n" in unknown.text
    assert "cannot be excluded" in unknown.text


async def test_a_check_that_is_none(client: Client) -> None:
    """The answer names the existing checks."""
    answer = await client.ask("/livez/etcd")
    assert answer.status == 404
    assert "it has: ping, watch-" in answer.text


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize("slash", ["", "/"])
async def test_own_metrics_are_prometheus_text(client: Client, slash: str) -> None:
    """/metrics parses, and counts an answered question and the scrape for it."""
    await client.ask(METRIC)
    answer = await client.ask(f"/metrics{slash}")
    assert answer.status == 200
    assert answer.headers[hdrs.CONTENT_TYPE] == "text/plain; version=0.0.4; charset=utf-8"
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert all(name[0].startswith("gpu_metrics_server_") for name in samples)
    name = "gpu_metrics_server_request_duration_seconds_count"
    assert samples[name, "200", "external", "gpu_utilization"] == 1
    assert samples["gpu_metrics_server_scrape_duration_seconds_count", "ok"] == 1
