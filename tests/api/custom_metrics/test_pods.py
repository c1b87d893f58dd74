"""Values of individual pods from the custom metrics API."""

import msgspec
import pytest

from metrics_server.api.types import CUSTOM_GROUP, CUSTOM_VERSIONS
from tests.support.clients import Client
from tests.support.custom_metrics import QUICK, UTILIZATION, WEB, ask, by_name, failed, items
from tests.support.exporters import page
from tests.support.harness import cluster, configuration
from tests.support.objects import pod


@pytest.mark.parametrize("star", ["*", "%2A", "%2a"])
async def test_one_item_for_each_pod_that_has_a_sample(client: Client, star: str) -> None:
    """Pods without one are left out: the controller allows for them itself."""
    answer = await ask(client, f"default/pods/{star}/gpu_utilization", labelSelector="app=web")
    assert by_name(answer) == {"web-1": "10", "web-2": "47500m"}
    one = items(answer)[0]
    assert (one.described_object.kind, one.described_object.namespace) == ("Pod", "default")
    assert one.described_object.api_version == "/v1"
    assert (one.metric.name, one.metric.selector) == ("gpu_utilization", None)
    assert b"windowSeconds" not in answer.body


async def test_the_old_version_has_the_same_in_its_own_form(client: Client) -> None:
    """The HPA controller accepts either version (k8s.io/metrics, converter.go)."""
    new, old = [
        await ask(
            client,
            "default/pods/*/gpu_utilization",
            version=version,
            labelSelector="app=web",
            metricLabelSelector="tier in (a,c)",
        )
        for version in CUSTOM_VERSIONS
    ]
    (item,) = items(new)
    selector = {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "c"]}]}
    metric = msgspec.json.decode(msgspec.json.encode(item.metric))
    assert metric == {"name": "gpu_utilization", "selector": selector}
    assert old.json() == {
        "kind": "MetricValueList",
        "apiVersion": f"{CUSTOM_GROUP}/v1beta1",
        "metadata": {},
        "items": [
            {
                "describedObject": {
                    "kind": "Pod",
                    "namespace": "default",
                    "name": "web-1",
                    "apiVersion": "/v1",
                },
                "metricName": "gpu_utilization",
                "timestamp": item.timestamp,
                "value": "10",
                "selector": selector,
            }
        ],
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {"web-1": "10", "web-2": "47500m", "batch-1": "90"}),
        ({"labelSelector": "app=web,tier!=a"}, {"web-2": "47500m"}),
        ({"labelSelector": "app=web", "metricLabelSelector": "tier=a"}, {"web-1": "10"}),
        ({"labelSelector": "app in (batch,none)"}, {"batch-1": "90"}),
        ({"metricLabelSelector": "!tier,app"}, {"batch-1": "90"}),
    ],
)
async def test_both_selectors_select_pods(
    client: Client, query: dict[str, str], expected: dict[str, str]
) -> None:
    """A pod must match both."""
    answer = await ask(client, "default/pods/*/gpu_utilization", **query)
    assert by_name(answer) == expected


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("gpu_utilization", "47500m"),
        ("GPU_Utilization", "47500m"),
        ("gpu_utilization_sum", "47500m"),
        ("gpu_utilization_max", "55"),
        ("DCGM_FI_DEV_GPU_UTIL", "47500m"),
    ],
)
async def test_one_pod_by_its_name(client: Client, metric: str, value: str) -> None:
    """The metric is spelled as in the request, and its aggregation over pods has no effect."""
    (item,) = items(await ask(client, f"default/pods/web-2/{metric}"))
    assert (item.described_object.name, item.metric.name, item.value) == ("web-2", metric, value)


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [
        ("web-9", "NotFound", 'are named "web-9": kubectl get pods -n default --show-labels lists'),
        ("web-cpu", "NotFound", "none of them requests a GPU"),
        ("web-loading", "ServiceUnavailable", "1 Running but not Ready"),
        ("web-draining", "ServiceUnavailable", "1 terminating"),
        ("web-pending", "ServiceUnavailable", "1 Pending"),
        ("web-3", "ServiceUnavailable", "0 of 1 pods have a measurement"),
    ],
)
async def test_never_an_empty_list(client: Client, name: str, reason: str, says: str) -> None:
    """Without any value it is an error with an explanation, as for an External metric."""
    status = (await ask(client, f"default/pods/{name}/gpu_utilization")).error()
    assert status.reason == reason
    assert says in status.message


@pytest.mark.parametrize("chain", [["last-known", "simulated"], ["simulated"]])
async def test_there_is_no_fallback_for_single_pods(chain: list[str]) -> None:
    """The controller allows for gaps itself, and no value is made up for a pod."""
    config = configuration({**QUICK, "fallback": {"chain": chain}})
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("web-1", labels=WEB)], config) as made:
        path = "default/pods/*/gpu_utilization"
        assert by_name(await ask(made.client, path)) == {"web-1": "10"}
        message = (await failed(made, path)).error().message
        assert "0 of 1 pods have a measurement" in message
        assert "answered HTTP 500" in message
        external = await made.client.metric("default", "gpu_utilization")
        assert external.item().metric_labels["source"] == chain[-1]
