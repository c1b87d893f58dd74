"""Object values from the custom metrics API."""

from collections.abc import Mapping

import pytest

from metrics_server.simulator.kube.objects import (
    DEPLOYMENTS,
    JOBS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
    Object,
    Resource,
)
from tests.support.clients import Client
from tests.support.custom_metrics import QUICK, UTILIZATION, WEB, ask, by_name, failed, items
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster, configuration
from tests.support.objects import pod

OBJECTS: Mapping[str, tuple[Resource, Object, str]] = {
    "deployments.apps/web": (
        DEPLOYMENTS,
        {"selector": {"matchLabels": {"app": "web"}}},
        "apps/v1 Deployment",
    ),
    "statefulsets.apps/web": (
        STATEFUL_SETS,
        {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}},
        "apps/v1 StatefulSet",
    ),
    "replicasets.apps/web": (
        REPLICA_SETS,
        {
            "selector": {
                "matchExpressions": [
                    {"key": "app", "operator": "NotIn", "values": ["batch"]},
                    {"key": "tier", "operator": "Exists"},
                ]
            }
        },
        "apps/v1 ReplicaSet",
    ),
    "jobs.batch/web": (
        JOBS,
        {
            "selector": {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "job", "operator": "DoesNotExist"}],
            }
        },
        "batch/v1 Job",
    ),
    "services/web": (SERVICES, {"selector": {"app": "web"}}, "/v1 Service"),
}


@pytest.mark.parametrize("path", OBJECTS)
async def test_an_object_has_one_value_for_the_pods_that_it_selects(
    simulated: Cluster, path: str
) -> None:
    """It equals the value of an External metric with that selector."""
    resource, spec, described = OBJECTS[path]
    simulated.api.apply(
        resource, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}
    )
    (item,) = items(await ask(simulated.client, f"default/{path}/gpu_utilization"))
    reference = item.described_object
    assert f"{reference.api_version} {reference.kind}" == described
    assert (reference.namespace, reference.name) == ("default", "web")
    selector = "app=web" if path != "replicasets.apps/web" else "app=web,tier"
    external = (await simulated.client.metric("default", "gpu_utilization", selector)).item()
    assert item.value == external.value
    narrowed = await ask(
        simulated.client, f"default/{path}/gpu_utilization", metricLabelSelector="tier=a"
    )
    assert by_name(narrowed) == {"web": "10"}


async def test_a_namespace_has_one_value_for_its_pods(client: Client) -> None:
    """It is requested as `metrics`, since RequestInfo treats `namespaces` differently."""
    (item,) = items(await ask(client, "default/metrics/gpu_utilization_sum"))
    assert (item.described_object.kind, item.described_object.name) == ("Namespace", "default")
    external = (await client.metric("default", "gpu_utilization_sum")).item()
    assert item.value == external.value
    narrowed = await ask(client, "default/metrics/gpu_utilization", metricLabelSelector="app=batch")
    assert by_name(narrowed) == {"default": "90"}


@pytest.mark.parametrize("chain", [["last-known", "simulated"], ["simulated"]])
async def test_an_object_has_no_simulated_value(chain: list[str]) -> None:
    """A custom metric has no labels, so nothing would mark it as simulated."""
    config = configuration(
        {"exporters": {"maxAge": "50ms"}, "fallback": {"chain": chain, "lastKnownMaxAge": "1s"}}
    )
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("web-1", labels=WEB)], config) as made:
        path = "default/metrics/gpu_utilization"
        assert by_name(await ask(made.client, path)) == {"default": "10"}
        answer = await failed(made, path)
        assert "0 of 1 pods have a measurement" in answer.error().message
        external = await made.client.metric("default", "gpu_utilization")
        assert external.item().metric_labels["source"] == "simulated"


async def test_an_object_repeats_its_last_value() -> None:
    """It is a measurement, with the timestamp of that."""
    config = configuration({**QUICK, "fallback": {"chain": ["last-known", "error"]}})
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("web-1", labels=WEB)], config) as made:
        path = "default/metrics/gpu_utilization"
        (first,) = items(await ask(made.client, path))
        await failed(made, "default/pods/*/gpu_utilization")
        (again,) = items(await ask(made.client, path))
        assert (again.value, again.timestamp) == (first.value, first.timestamp)


@pytest.mark.parametrize(
    ("path", "reason", "says"),
    [
        (
            "deployments.apps/nope",
            "NotFound",
            'there is no Deployment "nope" in namespace "default"',
        ),
        ("services/headless", "NotFound", "has no selector, so it has no pods to measure"),
        ("nodes/gpu-0", "NotFound", 'metrics of "nodes" are not served: an Object metric can'),
        ("deployments/web", "NotFound", 'metrics of "deployments" are not served'),
        ("deployments.apps/*", "BadRequest", '"*" stands for all pods only'),
    ],
)
async def test_objects_without_a_value(
    simulated: Cluster, path: str, reason: str, says: str
) -> None:
    """Each error says what to refer to instead."""
    headless: Object = {"metadata": {"name": "headless", "namespace": "default"}, "spec": {}}
    simulated.api.apply(SERVICES, headless)
    status = (await ask(simulated.client, f"default/{path}/gpu_utilization")).error()
    assert status.reason == reason
    assert says in status.message


async def test_an_object_that_may_not_be_read(simulated: Cluster) -> None:
    """The message says which right is missing, and what grants it."""
    simulated.api.faults.forbid("/deployments/")
    status = (await ask(simulated.client, "default/deployments.apps/web/gpu_utilization")).error()
    assert status.reason == "ServiceUnavailable"
    assert "apply deployments/components/with-custom-metrics, which grants it" in status.message
