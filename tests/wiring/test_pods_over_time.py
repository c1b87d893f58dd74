"""Rates and quantiles of the pods' own metrics, through both APIs of a whole server."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from metrics_server.simulator.kube.objects import PODS
from metrics_server.simulator.quantities import milli_value_of
from tests.support.clients import Answer
from tests.support.exporters import PageExporter
from tests.support.harness import Cluster
from tests.support.waiting import eventually, until
from tests.wiring.test_pods_source import ask_pods, engines, serving

pytestmark = pytest.mark.slow

ONE = "vllm-v1-one-engine"
TOKENS = 'vllm:generation_tokens_total{engine="0",model_name="acme/chat-8b"}'
IDLE = "# idle\n"
# A short window, so that background measurements are every 33 ms.
QUICK = {
    "rules": [
        {
            "name": "tokens",
            "source": "pods",
            "window": "1s",
            "decimals": 3,
            "readings": [
                {"family": "vllm:generation_tokens_total", "maximum": 1e6, "rate": True},
            ],
        },
        {
            "name": "wait",
            "source": "pods",
            "window": "1s",
            "decimals": 3,
            "readings": [
                {"family": "vllm:time_to_first_token_seconds", "maximum": 1e4, "quantile": 0.95},
            ],
        },
    ]
}


def bucket(bound: str) -> str:
    """A row of the histogram of times to the first token."""
    le = f'le="{bound}"'
    return f'vllm:time_to_first_token_seconds_bucket{{engine="0",{le},model_name="acme/chat-8b"}}'


def changed(page: str, values: Mapping[str, float]) -> str:
    """The page with different values in these rows."""
    for name, value in values.items():
        page, times = re.subn(rf"(?m)^{re.escape(name)} .*$", f"{name} {value}", page)
        assert times == 1
    return page


def waits(hundreds: int) -> Mapping[str, float]:
    """The buckets after hundreds of requests, of which 95 % waited at most 1.5 s."""
    growth = {"0.1": 60, "0.5": 90, "2.5": 100, "+Inf": 100}
    return {bucket(bound): 5000 + hundreds * grown for bound, grown in growth.items()}


class SteadyPage(PageExporter):
    """An engine that generates 1000 tokens per second, until it is idle."""

    async def _answer(self, request: web.Request) -> web.Response:
        if IDLE not in self.page:
            self.page = changed(self.page, {TOKENS: 1000 * time.monotonic()})
        return await super()._answer(request)


async def ask(made: Cluster, metric: str) -> Answer:
    """The answer for all pods."""
    return await made.client.metric("default", metric, "app=llm")


async def value_of(made: Cluster, metric: str) -> float:
    """The value over all pods, once there is one."""
    answer = await eventually(lambda: ask(made, metric), lambda one: one.status == 200)
    return milli_value_of(answer.item().value) / 1000


async def test_a_counter_is_a_rate() -> None:
    """It is unknown before the second scrape, which needs no other question."""
    async with engines({"a": ONE, "b": ONE}, QUICK, SteadyPage) as (made, served):
        error = (await ask(made, "tokens")).error()
        assert error.reason == "ServiceUnavailable"
        assert (
            "0 of 2 pods have a measurement: the page of each of pods a, b has been read only once "
            "in the last 1 s; a rate needs two scrapes"
        ) in error.message
        await until(lambda: min(one.scrapes for one in served.values()) > 3)
        await eventually(lambda: value_of(made, "tokens"), lambda one: 950 < one < 1050)
        await eventually(lambda: value_of(made, "tokens_sum"), lambda one: 1900 < one < 2100)
        values = await ask_pods(made, "tokens")
        assert values.keys() == {"a", "b"}
        # The catalogue's is over a minute, or as much as has passed.
        name = "llm_tokens_per_second"
        await eventually(lambda: value_of(made, name), lambda one: 950 < one < 1050)
        answer = await ask(made, f"{name}_sum")
        assert answer.item().window == 60


async def test_an_engine_that_stops_generating() -> None:
    """Its rate is 0 once the window has passed."""
    async with engines({"a": ONE}, QUICK, SteadyPage) as (made, served):
        await eventually(lambda: value_of(made, "tokens"), lambda one: one > 900)
        served["a"].page += IDLE
        await eventually(lambda: value_of(made, "tokens"), lambda one: one == 0)


async def test_a_histogram_is_a_quantile() -> None:
    """Over the observations within the window; without any, there is no value."""
    async with engines({"a": ONE, "b": ONE}, QUICK) as (made, served):
        empty = changed(served["a"].page, waits(0))
        served["a"].page = served["b"].page = empty
        error = (await ask(made, "llm_time_to_first_token_p95")).error()
        assert (
            "has been read only once in the last 60 s; a quantile needs two scrapes"
            in error.message
        )
        answer = await eventually(
            lambda: ask(made, "llm_time_to_first_token_p95"),
            lambda one: "read only once" not in one.error().message,
        )
        assert re.search(
            "the page of each of pods a, b had no requests in the last [0-9]+ s: "
            "vllm:time_to_first_token_seconds has not grown",
            answer.error().message,
        )
        served["a"].page = changed(empty, waits(1))
        assert await value_of(made, "llm_time_to_first_token_p95") == 1.5
        assert (await ask(made, "llm_time_to_first_token_p95_max")).item().value == "1500m"
        assert await ask_pods(made, "llm_time_to_first_token_p95") == {"a": "1500m"}
        unknown = await ask(made, "llm_time_to_first_token_p95_sum")
        assert unknown.status == 404
        # A rule with a short window soon forgets these requests.
        await eventually(lambda: ask(made, "wait"), lambda one: one.status != 200)
        served["a"].page = changed(empty, waits(2))
        assert await value_of(made, "wait") == 1.5
        answer = await eventually(lambda: ask(made, "wait"), lambda one: one.status != 200)
        assert "had no requests in the last 1 s" in answer.error().message


async def test_a_pod_that_is_recreated_starts_over() -> None:
    """Its counter is not compared with the previous pod's."""
    async with engines({"a": ONE}) as (made, served):
        metric = "llm_tokens_per_second"
        assert await value_of(made, metric) == 0
        served["a"].status = 500
        await eventually(lambda: ask(made, metric), lambda one: one.status != 200)
        again = serving("a", served["a"].port)
        assert isinstance(again["metadata"], dict)
        created = datetime.now(UTC) + timedelta(seconds=5)
        again["metadata"]["creationTimestamp"] = f"{created:%Y-%m-%dT%H:%M:%SZ}"
        made.api.delete(PODS, "default", "a")
        made.api.apply(PODS, again)
        served["a"].page = changed(served["a"].page, {TOKENS: 9e6})
        served["a"].status = 200
        # Against its predecessor's, it would be thousands per second for a minute.
        await eventually(lambda: value_of(made, metric), lambda one: one == 0)
