"""Keys under series/ in an HPA's selector, through both APIs."""

from urllib.parse import quote

import pytest
from msgspec import Struct, convert

from metrics_server.simulator.kube.objects import Object
from tests.support.clients import Answer
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod
from tests.support.waiting import eventually
from tests.wiring.test_pods_source import ENGINES, engines

GATEWAY = "inference_queue_size"


class Item(Struct, rename="camel"):
    """An item of an answer of the custom metrics API."""

    described_object: dict[str, str]
    metric: dict[str, object]
    value: str


async def external(made: Cluster, metric: str, selector: str) -> str:
    """The value of an External metric."""
    return (await made.client.metric("default", metric, selector)).item().value


async def custom(
    made: Cluster, resource: str, selector: str, metric: str = GATEWAY
) -> dict[str, str]:
    """The values of a Pods or Object metric with its own selector, by object."""
    answer = await made.client.ask(
        f"/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/{resource}/{metric}"
        f"?metricLabelSelector={quote(selector)}"
    )
    items = convert(answer.json()["items"], list[Item])
    assert all(one.metric["selector"] for one in items)
    return {one.described_object["name"]: one.value for one in items}


async def test_a_model_of_several_on_a_gateway() -> None:
    """Each has the queue of its own flows; a label that no row has is an error."""
    async with engines({"a": "epp"}) as (made, _):
        assert await external(made, GATEWAY, "app=llm") == "17"
        assert await external(made, GATEWAY, "app=llm,series/model_name=chat") == "15"
        assert await external(made, GATEWAY, "series/model_name=code") == "2"
        assert await external(made, GATEWAY, "series/target_model_name=acme_chat-8b") == "15"
        assert await external(made, GATEWAY, "series/model_name in (chat,code)") == "17"
        assert await external(made, GATEWAY, "series/model_name!=chat") == "2"
        assert await external(made, GATEWAY, "series/model_name=idle") == "0"
        error = (await made.client.metric("default", GATEWAY, "series/model=chat")).error()
        assert error.code == 404
        assert error.message == (
            "no row of inference_queue_size of the selected pods matches series/model=chat: "
            "no row has the label model; the labels are fairness_id, inference_pool, model_name, "
            "priority, target_model_name"
        )


async def test_the_other_api() -> None:
    """The selector of a Pods or Object metric is in a separate parameter."""
    async with engines({"a": "epp"}) as (made, _):
        assert await custom(made, "pods/*", "series/model_name=chat") == {"a": "15"}
        assert await custom(made, "metrics", "app=llm,series/model_name=code") == {"default": "2"}
        assert await custom(made, "pods/a", "series/model_name=code") == {"a": "2"}


async def test_pods_of_other_models() -> None:
    """They are left out of the answer: not missing, and not 0."""
    async with engines({"a": "vllm-v1-one-engine", "b": "vllm-v1-dp2"}) as (made, _):
        name = "llm_requests_waiting"
        selector = "app=llm,series/model_name=acme_chat-8b"
        answer = (await made.client.metric("default", f"{name}_sum", selector)).item()
        assert answer.value == "7"
        assert answer.metric_labels == {"source": "pods", "pods": "1/1"}
        assert await external(made, f"{name}_sum", "app=llm") == "16"
        assert await external(made, name, "series/model_name=acme_moe-120b") == "9"
        assert await custom(made, "pods/*", "series/model_name=acme_moe-120b", name) == {"b": "9"}
        error = (await made.client.metric("default", name, "series/model_name=other")).error()
        assert error.code == 404
        assert error.message == (
            "no row of llm_requests_waiting of the selected pods matches series/model_name=other: "
            'the values of model_name are "acme/chat-8b" (in a selector: acme_chat-8b), '
            '"acme/moe-120b" (in a selector: acme_moe-120b)'
        )


async def test_a_page_that_cannot_be_read() -> None:
    """It may have had the rows: there is no value, and the message covers the other pages too."""
    async with engines({"a": "vllm-v1-one-engine", "b": "nim"}) as (made, served):
        served["b"].status = 500
        answer = await made.client.metric(
            "default", "llm_requests_waiting", "series/model_name=other"
        )
        assert answer.error().code == 503
        assert "answered HTTP 500" in answer.error().message
        assert "no row of llm_requests_waiting of other pods matches" in answer.error().message


async def test_nothing_is_remembered_for_another_selector() -> None:
    """The last known value is for exactly the same series."""
    settings = {"fallback": {"chain": ["last-known"]}}
    async with engines({"a": "epp"}, settings) as (made, served):
        assert await external(made, GATEWAY, "series/model_name=chat") == "15"
        served["a"].status = 500

        async def ask(selector: str) -> Answer:
            return await made.client.metric("default", GATEWAY, selector)

        known = await eventually(
            lambda: ask("series/model_name=chat"),
            lambda one: one.item().metric_labels["source"] == "last-known",
        )
        assert known.item().value == "15"
        for other in ("series/model_name=code", "", "series/inference_pool=chat"):
            assert (await ask(other)).error().code == 503


async def test_comparisons() -> None:
    """The message says that series cannot be compared."""
    async with engines({"a": "epp"}) as (made, _):
        error = (await made.client.metric("default", GATEWAY, "series/priority>1")).error()
        assert error.code == 400
        assert "series/priority>1: labels of series cannot be compared" in error.message


def gpu(name: str, number: int, model: str, value: int, *, namespace: str = "default") -> str:
    """A row for one GPU of a pod."""
    return (
        f'DCGM_FI_DEV_GPU_UTIL{{gpu="{number}",UUID="GPU-{number}",modelName="{model}",'
        f'Hostname="gpu-0",container="c",namespace="{namespace}",pod="{name}"}} {value}\n'
    )


PAGE = (
    gpu("a", 0, "NVIDIA A100-SXM4-80GB", 40)
    + gpu("b", 1, "NVIDIA H100 80GB HBM3", 90)
    + gpu("b", 2, "NVIDIA A100-SXM4-80GB", 60)
    + gpu("secret", 3, "NVIDIA B200", 10, namespace="other")
)


def of_node(name: str, gpus: int) -> Object:
    """A pod on the node with the page."""
    return pod(name, gpus=gpus, node="gpu-0")


async def test_gpus_of_one_model() -> None:
    """A pod's value is over its matching GPUs; other namespaces' values are not revealed."""
    async with cluster({"gpu-0": PAGE}, [of_node("a", 1), of_node("b", 2)]) as made:
        name = "gpu_utilization"
        assert await external(made, name, "series/modelName=NVIDIA_A100-SXM4-80GB") == "50"
        assert await external(made, name, "series/modelName=NVIDIA_H100_80GB_HBM3") == "90"
        assert await external(made, name, "series/gpu!=1") == "50"
        assert await custom(made, "pods/*", "series/gpu=1", name) == {"b": "90"}
        error = (await made.client.metric("default", name, "series/modelName=NVIDIA_B200")).error()
        assert error.code == 404
        assert error.message == (
            "no GPU of the selected pods matches series/modelName=NVIDIA_B200: the values of "
            'modelName are "NVIDIA A100-SXM4-80GB" (in a selector: NVIDIA_A100-SXM4-80GB), "NVIDIA '
            'H100 80GB HBM3" (in a selector: NVIDIA_H100_80GB_HBM3)'
        )
        assert "B200 " not in error.message.replace("matches series/modelName=NVIDIA_B200", "")
        error = (await made.client.metric("default", name, "series/model=x")).error()
        assert (
            "no row has the label model; the labels are Hostname, UUID, container" in error.message
        )


@pytest.mark.parametrize("name", [path.stem for path in ENGINES.glob("v*.prom")])
async def test_labels_of_real_pages(name: str) -> None:
    """A selector that matches every row changes nothing."""
    async with engines({"a": name}) as (made, _):
        metric = "llm_requests_waiting"
        assert await external(made, metric, "series/nothing!=x") == await external(made, metric, "")
