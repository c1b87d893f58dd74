"""The pods' own metrics, through both APIs: real pages on loopback, discovered as in a cluster."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from metrics_server.simulator.kube.objects import PODS, Json, Object
from tests.support.exporters import PageExporter
from tests.support.harness import Cluster, cluster, configuration
from tests.support.objects import pod
from tests.support.waiting import eventually

ENGINES = Path(__file__).parents[1] / "data" / "engines"
LOOPBACK = {"podPages": {"networks": ["127.0.0.0/8"]}, "exporters": {"maxAge": "50ms"}}
WEB = {"app": "llm"}


def serving(name: str, port: int, **changes: Json) -> Object:
    """A pod without a GPU that serves its page on a port called metrics."""
    made = pod(name, labels=WEB, gpus=0)
    assert isinstance(made["spec"], dict)
    assert isinstance(made["status"], dict)
    container: Object = {
        "name": "engine",
        "ports": [{"name": "http", "containerPort": 1}, {"name": "metrics", "containerPort": port}],
    }
    made["spec"] |= {"containers": [container], **changes}
    made["status"]["podIP"] = "127.0.0.1"
    return made


@asynccontextmanager
async def engines(
    pages: Mapping[str, str],
    settings: Mapping[str, object] | None = None,
    exporter: type[PageExporter] = PageExporter,
) -> AsyncIterator[tuple[Cluster, Mapping[str, PageExporter]]]:
    """A server in a cluster with pods that serve these pages."""
    async with AsyncExitStack() as stack:
        served = {
            name: await stack.enter_async_context(exporter((ENGINES / f"{page}.prom").read_text()))
            for name, page in pages.items()
        }
        pods = [serving(name, one.port) for name, one in served.items()]
        config = configuration({**LOOPBACK, **(settings or {})})
        yield await stack.enter_async_context(cluster({}, pods, config)), served


async def ask_pods(made: Cluster, metric: str) -> dict[str, str]:
    """Each pod's value, by name."""
    answer = await made.client.ask(
        f"/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/{metric}"
    )
    assert answer.status == 200, answer.text
    items = answer.json()["items"]
    assert isinstance(items, list)
    return {one["describedObject"]["name"]: one["value"] for one in items}


async def test_both_apis_serve_them() -> None:
    """For any engine, and even without a GPU request."""
    async with engines({"a": "vllm-v1-dp2", "b": "sglang", "c": "tgi"}) as (made, _):
        waiting = await made.client.metric("default", "llm_requests_waiting_sum", "app=llm")
        assert waiting.item().value == "36"
        assert waiting.item().metric_labels == {"source": "pods", "pods": "3/3"}
        mean = await made.client.metric("default", "llm_requests_waiting", "app=llm")
        assert mean.item().value == "12"
        assert await ask_pods(made, "llm_requests_waiting") == {"a": "9", "b": "9", "c": "18"}
        assert await ask_pods(made, "llm_kv_cache_utilization") == {"a": "61", "b": "54500m"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hostNetwork": True}, "uses its node's network (hostNetwork)"),
        ({"containers": [{"name": "engine"}]}, "declares no port: set the annotation"),
    ],
)
async def test_a_pod_without_a_page(change: dict[str, Json], says: str) -> None:
    """The message says what to change."""
    async with engines({"a": "vllm-v1-dp2"}) as (made, served):
        made.api.apply(PODS, serving("a", served["a"].port, **change))
        answer = await eventually(
            lambda: made.client.metric("default", "llm_requests_waiting"),
            lambda one: one.status != 200,
        )
        assert f"pod a {says}" in answer.error().message
        assert answer.error().reason == "ServiceUnavailable"


async def test_loopback_is_refused_by_default() -> None:
    """An address that cannot belong to a pod is not scraped."""
    async with engines({"a": "vllm-v1-dp2"}, {"podPages": {}}) as (made, served):
        error = (await made.client.metric("default", "llm_requests_waiting")).error()
        assert "pod a has the IP address 127.0.0.1, which cannot be a pod's own" in error.message
        assert served["a"].scrapes == 0


async def test_an_engine_that_fails() -> None:
    """Its pod has no value, and the others keep theirs; none is simulated."""
    settings = {"fallback": {"chain": ["simulated"], "minCoverage": 0.5}}
    async with engines({"a": "vllm-v1-dp2", "b": "nim"}, settings) as (made, served):
        assert await ask_pods(made, "llm_requests_waiting") == {"a": "9", "b": "4"}
        served["a"].status = 500
        values = await eventually(
            lambda: ask_pods(made, "llm_requests_waiting"), lambda one: len(one) == 1
        )
        assert values == {"b": "4"}
        served["b"].page = (ENGINES / "absent-until-first-request.prom").read_text()
        answer = await eventually(
            lambda: made.client.metric("default", "llm_kv_cache_utilization"),
            lambda one: one.status != 200,
        )
        message = answer.error().message
        assert f"pod a: http://127.0.0.1:{served['a'].port}/metrics answered HTTP 500" in message
        assert "the page of pod b has none of the families" in message


async def test_a_page_that_is_too_long_or_elsewhere() -> None:
    """The message names the setting, and a redirect is not followed."""
    limited = {"podPages": {"networks": ["127.0.0.0/8"], "maxPageBytes": 1024}}
    async with engines({"a": "vllm-v1-dp2"}, limited) as (made, served):
        error = (await made.client.metric("default", "llm_requests_waiting")).error()
        assert "sent more than 1024 bytes (podPages.maxPageBytes)" in error.message
        served["a"].status = 302
        answer = await eventually(
            lambda: made.client.metric("default", "llm_requests_waiting"),
            lambda one: "podPages" not in one.text,
        )
        assert "answered HTTP 302" in answer.error().message


async def test_a_rule_of_the_users_own() -> None:
    """It has its own endpoint, labels and aggregation."""
    rule = {
        "name": "coder_queue",
        "source": "pods",
        "overSeries": "max",
        "endpoint": {"path": "/metrics?x"},
        "readings": [
            {
                "family": "llm_d_epp_flow_control_queue_size",
                "maximum": 1000,
                "where": {"inference_pool": "chat-pool"},
            }
        ],
    }
    async with engines({"a": "epp"}, {"rules": [rule]}) as (made, _):
        assert (await made.client.metric("default", "coder_queue")).item().value == "12"
