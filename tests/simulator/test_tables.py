"""The tables of `kubectl get` in the demo."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest
from msgspec import Struct

from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    Answer,
    ExternalMetric,
    History,
    HorizontalPodAutoscaler,
    Item,
    MetricUnavailable,
    PodsMetric,
    Scale,
    ScaledPod,
)
from metrics_server.simulator.gpus.workload import SimulatedPod
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import (
    API_SERVICES,
    AUTOSCALERS,
    CONFIG_MAPS,
    EVENTS,
    PODS,
    Json,
    Object,
)

# Sent by kubectl.
ACCEPT = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
HPAS = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
PER_POD = HorizontalPodAutoscaler(
    namespace="default", metrics=(PodsMetric("gpu_utilization", 70_000),), max_replicas=4
)
EXTERNAL = HorizontalPodAutoscaler(
    namespace="default",
    metrics=(ExternalMetric("gpu_utilization", "app=inference", "Value", 70_000),),
    max_replicas=4,
)
SUM = HorizontalPodAutoscaler(
    namespace="default",
    metrics=(ExternalMetric("gpu_utilization_sum", "app=inference", "AverageValue", 70_000),),
    max_replicas=4,
)
SCALE = Scale(2, 2, (ScaledPod("a"), ScaledPod("b")))


class Column(Struct):
    """A column."""

    name: str


class Row(Struct):
    """A row."""

    cells: list[str]


class Table(Struct, rename="camel"):
    """A table."""

    kind: str
    column_definitions: list[Column]
    rows: list[Row]


class Event(Struct):
    """A line of a watch."""

    type: str
    object: Table


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """The API."""
    async with KubernetesAPI() as running:
        yield running


async def table(api: KubernetesAPI, path: str) -> Table:
    """The table for a path, as kubectl gets it."""
    async with (
        aiohttp.ClientSession(headers=ACCEPT) as session,
        session.get(f"{api.url}{path}") as response,
    ):
        return msgspec.json.decode(await response.read(), type=Table)


@pytest.mark.parametrize(
    ("hpa", "answer", "targets"),
    [
        (PER_POD, (Item(91_000, "a"), Item(90_500, "b")), "90750m/70"),
        (EXTERNAL, (Item(91_000),), "91/70"),
        (SUM, (Item(181_000),), "90500m/70 (avg)"),
        (PER_POD, MetricUnavailable("no"), "<unknown>/70"),
        (EXTERNAL, MetricUnavailable("no"), "<unknown>/70"),
        (SUM, MetricUnavailable("no"), "<unknown>/70 (avg)"),
    ],
)
async def test_an_hpa_shows_its_value_and_target(
    api: KubernetesAPI, hpa: HorizontalPodAutoscaler, answer: Answer, targets: str
) -> None:
    """With a real cluster's columns, in a list and by name."""
    decision = decide(hpa, SCALE, (answer,), History(), 0)
    api.apply(AUTOSCALERS, manifests.horizontal_pod_autoscaler(hpa, 2, decision))
    for path in (HPAS, f"{HPAS}/inference"):
        found = await table(api, path)
        assert [column.name for column in found.column_definitions] == [
            *("Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas")
        ]
        assert [row.cells for row in found.rows] == [
            ["inference", "Deployment/inference", targets, "1", "4", "2"]
        ]


async def test_an_hpa_without_a_status_or_of_another_type(api: KubernetesAPI) -> None:
    """Unknown values are shown as such; several metrics share a cell."""
    new = manifests.horizontal_pod_autoscaler(PER_POD, 2, None)
    spec: Object = {"scaleTargetRef": {"kind": "Deployment", "name": "x"}, "maxReplicas": 3}
    pods: Object = {"type": "Pods", "pods": {"target": {"averageValue": "7"}}}
    both: Object = {**spec, "metrics": [{"type": "Resource"}, pods]}
    api.apply(AUTOSCALERS, new)
    api.apply(AUTOSCALERS, {"metadata": {"name": "two"}, "spec": both})
    api.apply(AUTOSCALERS, {"metadata": {"name": "zero"}, "spec": {**spec}})
    found = await table(api, HPAS)
    assert [row.cells[2] for row in found.rows] == [
        *("<unknown>/70", "<unknown type>, <unknown>/7", "<none>")
    ]


async def test_a_watch_sends_tables(api: KubernetesAPI) -> None:
    """As `kubectl get hpa --watch` reads them."""
    async with (
        aiohttp.ClientSession(headers=ACCEPT) as session,
        session.get(f"{api.url}{HPAS}?watch=true") as response,
    ):
        api.apply(AUTOSCALERS, manifests.horizontal_pod_autoscaler(PER_POD, 2, None))
        event = msgspec.json.decode(await response.content.readline(), type=Event)
    assert (event.type, event.object.kind) == ("ADDED", "Table")
    assert event.object.rows[0].cells[0] == "inference"


async def test_a_pod_shows_its_state(api: KubernetesAPI) -> None:
    """Its number of ready containers, and whether it is terminating."""
    pod = SimulatedPod("default", "a", "inference", "gpu-node-0", ("GPU-1",), ready=False)
    api.apply(PODS, manifests.pod(pod, None))
    assert (await table(api, "/api/v1/pods")).rows[0].cells == ["a", "0/1", "Running", "gpu-node-0"]
    api.apply(PODS, manifests.pod(pod, 1_700_000_000))
    assert (await table(api, "/api/v1/pods")).rows[0].cells[2] == "Terminating"


@pytest.mark.parametrize(
    ("status", "service", "cells"),
    [
        ({}, {"namespace": "a", "name": "b"}, ["a/b", "Unknown"]),
        ({}, None, ["Local", "Unknown"]),
        ({"status": "True", "reason": "Local"}, None, ["Local", "True"]),
        (
            {"status": "False", "reason": "FailedDiscoveryCheck"},
            {"namespace": "a", "name": "b"},
            ["a/b", "False (FailedDiscoveryCheck)"],
        ),
    ],
)
async def test_an_api_service_shows_whether_it_is_available(
    api: KubernetesAPI, status: dict[str, Json], service: Object | None, cells: list[str]
) -> None:
    """Otherwise why not, in a real cluster's words."""
    conditions: list[Json] = [{"type": "Available", **status}] if status else []
    spec: Object = {} if service is None else {"service": service}
    one: Object = {"metadata": {"name": "v1"}, "spec": spec, "status": {"conditions": conditions}}
    api.apply(API_SERVICES, one)
    found = await table(api, "/apis/apiregistration.k8s.io/v1/apiservices")
    assert [column.name for column in found.column_definitions] == [
        *("Name", "Service", "Available", "Age")
    ]
    assert found.rows[0].cells == ["v1", *cells, "0s"]


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(-9, "0s"), (5, "5s"), (90, "90s"), (120, "2m"), (10_770, "179m"), (10_800, "3h")],
)
async def test_an_event_shows_what_happened_and_when(
    api: KubernetesAPI, seconds: int, age: str
) -> None:
    """With kubectl's format of times; a future time is now."""
    last = datetime.now(UTC) - timedelta(seconds=seconds)
    event: Object = {
        "metadata": {"name": "a"},
        "involvedObject": {"kind": "HorizontalPodAutoscaler", "name": "inference"},
        "lastTimestamp": last.isoformat(),
        "type": "Warning",
        "reason": "LastKnownValue",
        "message": "why",
    }
    api.apply(EVENTS, event)
    (row,) = (await table(api, "/api/v1/events")).rows
    assert row.cells == [
        age,
        *("Warning", "LastKnownValue", "horizontalpodautoscaler/inference", "why"),
    ]


async def test_other_resources_have_no_table(api: KubernetesAPI) -> None:
    """Their list is sent unchanged, which kubectl accepts too."""
    api.apply(CONFIG_MAPS, {"metadata": {"name": "a"}})
    async with (
        aiohttp.ClientSession(headers=ACCEPT) as session,
        session.get(f"{api.url}/api/v1/configmaps") as response,
    ):
        assert (await response.json())["kind"] == "ConfigMapList"
