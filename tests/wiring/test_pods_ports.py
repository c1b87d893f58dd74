"""Pods with several pages, one per rank of an engine, each on its own port."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.exporters import PageExporter
from tests.support.guarded_pages import serving
from tests.support.harness import Cluster, cluster, configuration
from tests.support.waiting import eventually

ENGINES = Path(__file__).parents[1] / "data" / "engines"
RANK = (ENGINES / "vllm-v1-one-engine.prom").read_text("utf-8")
WAITING = "vllm:num_requests_waiting"
KV = "vllm:kv_cache_usage_perc"
TOKENS = "vllm:generation_tokens_total"
BUCKET = "vllm:time_to_first_token_seconds_bucket"
RATES: Mapping[str, object] = {
    "rules": [
        {
            "name": "tokens",
            "source": "pods",
            "window": "10m",
            "readings": [{"family": TOKENS, "maximum": 1e12, "rate": True}],
        },
        {
            "name": "wait",
            "source": "pods",
            "window": "10m",
            "decimals": 3,
            "readings": [
                {"family": BUCKET.removesuffix("_bucket"), "maximum": 1e4, "quantile": 0.5}
            ],
        },
    ]
}


def rank(**values: float) -> str:
    """A rank's page with different values in these families."""
    page = RANK
    for name, value in values.items():
        page, times = re.subn(rf"(?m)^(vllm:{name}\{{.*\}}) .*$", rf"\1 {value}", page)
        assert times
    return page


def counted(fast: int, slow: int) -> str:
    """A rank's page with requests whose first token took up to 0.1 s, or more than 0.1 s."""

    def bucket(row: re.Match[str]) -> str:
        return f"{row[1]} {fast if row[2] == '0.1' else fast + slow}"

    return re.sub(rf'(?m)^({BUCKET}\{{.*le="([^"]*)".*\}}) .*$', bucket, RANK)


@asynccontextmanager
async def ranks(
    *pages: str, settings: Mapping[str, object] | None = None, endpoint: object = None
) -> AsyncIterator[tuple[Cluster, list[PageExporter]]]:
    """A server in a cluster with one pod that has these pages."""
    served = [PageExporter(page) for page in pages]
    async with served[0], served[1]:
        ports = [one.port for one in served]
        config = configuration(
            {
                "podPages": {
                    "networks": ["127.0.0.0/8"],
                    "endpoints": [endpoint or {"ports": ports, "metrics": ["llm_*"]}],
                },
                "exporters": {"maxAge": "50ms"},
                **(settings or {}),
            }
        )
        async with cluster({}, [serving("llm", ports, namespace="default")], config) as made:
            yield made, served


async def ask(made: Cluster, metric: str) -> str:
    """The pod's value."""
    return (await made.client.metric("default", metric, "app=epp")).item().value


async def error_of(made: Cluster, metric: str) -> str:
    """The error message instead of a value."""
    answer = await eventually(
        lambda: made.client.metric("default", metric, "app=epp"), lambda one: one.status != 200
    )
    return answer.error().message


async def test_the_rows_of_all_pages_are_the_pods() -> None:
    """A count is their sum, a share their mean, whatever the ports are called."""
    pages = (rank(num_requests_waiting=7), rank(num_requests_waiting=5, kv_cache_usage_perc=0.1))
    async with ranks(*pages, endpoint={"ports": ["metrics", "rank-1"]}) as (made, _):
        assert await ask(made, "llm_requests_waiting") == "12"
        assert await ask(made, "llm_kv_cache_utilization") == "36641m"
        assert await ask(made, "llm_kv_cache_utilization_max") == "36641m", "of the pods"


async def test_a_rank_that_fails_makes_the_pod_missing() -> None:
    """Never a partial sum; the message names the page."""
    async with ranks(rank(), rank()) as (made, served):
        assert await ask(made, "llm_requests_waiting") == "14"
        served[1].status = 500
        message = await error_of(made, "llm_requests_waiting")
        port = served[1].port
        assert f"pod llm: http://127.0.0.1:{port}/metrics answered HTTP 500" in message
        served[1].status, served[1].page = 200, "# empty\n"
        says = f"the page of pod llm at port {port} has none of the families"
        answer = await eventually(
            lambda: made.client.metric("default", "llm_requests_waiting"),
            lambda one: says in one.text,
        )
        assert answer.status == 503


async def test_one_scrape_of_each_page_is_enough_to_begin_with() -> None:
    """The second gives the rate over all of them."""
    both = {"ports": ["metrics", "rank-1"]}
    pages = [rank(generation_tokens_total=0) for _ in range(2)]
    async with ranks(*pages, settings=RATES, endpoint=both) as (made, served):
        message = await error_of(made, "tokens")
        for one in served:
            assert f"the page of pod llm at port {one.port} has been read only once" in message
        served[0].page = rank(generation_tokens_total=1e9)
        served[1].page = rank(generation_tokens_total=3e9)
        answer = await eventually(
            lambda: made.client.metric("default", "tokens"),
            lambda one: one.status == 200 and one.item().value != "0",
        )
        # Over some hundredths of a second, for both.
        assert float(answer.item().value) > 1e9
        assert [one.scrapes for one in served] == [one.scrapes for one in reversed(served)]


async def test_a_quantile_is_of_all_ranks_together() -> None:
    """Not the mean of their quantiles: nine in ten requests were fast, all on one rank."""
    both = {"ports": ["metrics", "rank-1"]}
    async with ranks(counted(0, 0), counted(0, 0), settings=RATES, endpoint=both) as (made, served):
        await error_of(made, "wait")
        served[0].page, served[1].page = counted(90, 0), counted(0, 10)
        # The mean of 0.05 s and 0.3 s would differ.
        await eventually(
            lambda: made.client.metric("default", "wait"),
            lambda one: one.status == 200 and one.item().value == "56m",
        )
        served[0].page = (ENGINES / "sglang.prom").read_text("utf-8")
        assert "none of the families" in await error_of(made, "wait")


async def test_a_port_that_the_pod_has_not() -> None:
    """The whole pod is missing."""
    async with ranks(rank(), rank(), endpoint={"ports": ["metrics", "rank-2"]}) as (made, served):
        message = await error_of(made, "llm_requests_waiting")
    assert "pod llm declares the ports metrics" in message
    assert "the configured port is rank-2" in message
    assert [one.scrapes for one in served] == [0, 0]
