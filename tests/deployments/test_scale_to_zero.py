"""The manifest for scaling to zero: the HPA's arithmetic on the server's answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    Scale,
    ScaledPod,
)
from metrics_server.simulator.engines.pages import Flow, gateway_page
from metrics_server.simulator.kube.objects import Object, metadata
from metrics_server.simulator.quantities import milli_value_of
from tests.deployments.manifests import (
    DEPLOYMENTS,
    SCALE_TO_ZERO,
    at,
    find,
    items,
    mapping,
    read,
)
from tests.support.exporters import PageExporter
from tests.support.harness import Cluster, cluster, configuration
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

OBJECTS = read(DEPLOYMENTS / SCALE_TO_ZERO)
HPA = find(OBJECTS, "HorizontalPodAutoscaler", "chat")
LOOPBACK = {"podPages": {"networks": ["127.0.0.0/8"]}, "exporters": {"maxAge": "50ms"}}
SYNC = 15.0


def autoscaler() -> HorizontalPodAutoscaler:
    """The manifest's HPA, for the simulated controller."""
    metrics = []
    for metric in items(HPA, "spec", "metrics"):
        assert at(metric, "type") == "External"
        assert at(metric, "external", "target", "type") == "AverageValue"
        labels = mapping(metric, "external", "metric", "selector", "matchLabels")
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        target = milli_value_of(str(at(metric, "external", "target", "averageValue")))
        name = str(at(metric, "external", "metric", "name"))
        metrics.append(ExternalMetric(name, selector, "AverageValue", target))
    window = at(HPA, "spec", "behavior", "scaleDown", "stabilizationWindowSeconds")
    low, high = at(HPA, "spec", "minReplicas"), at(HPA, "spec", "maxReplicas")
    assert isinstance(window, int)
    assert isinstance(low, int)
    assert isinstance(high, int)
    return HorizontalPodAutoscaler(
        namespace="default",
        metrics=tuple(metrics),
        min_replicas=low,
        max_replicas=high,
        stabilization_window=window,
    )


class World(Struct):
    """The model's Deployment, the gateway's page, and the server.

    Attributes:
        cluster: the server and the Kubernetes API.
        gateway: the page of the endpoint picker.
        replicas: of the Deployment; all of them are Ready.
        now: seconds.
        history: of the HPA.
    """

    cluster: Cluster
    gateway: PageExporter
    replicas: int = 1
    now: float = 0
    history: History = History()

    async def sync(self, held: int, running: int | None, count: int = 1) -> list[int]:
        """Let the HPA sync this often, with this many requests held and in flight."""
        flow = Flow("chat", self.replicas, held, running)
        # The gateway's other model is busy, and does not count.
        self.gateway.page = gateway_page({"chat": flow, "code": Flow("chat", 1, 9, 90)})
        seen = self.gateway.scrapes
        await eventually(self.answers, lambda _: self.gateway.scrapes > seen + 1)
        sizes = []
        for _ in range(count):
            self.now += SYNC
            pods = tuple(ScaledPod(f"chat-{n}") for n in range(self.replicas))
            scale = Scale(self.replicas, len(pods), pods)
            decision = decide(autoscaler(), scale, await self.answers(), self.history, self.now)
            self.replicas, self.history = decision.replicas, decision.history
            sizes.append(self.replicas)
        return sizes

    async def answers(self) -> list[Answer]:
        """The server's answer for each metric."""
        found: list[Answer] = []
        for metric in autoscaler().metrics:
            assert isinstance(metric, ExternalMetric)
            response = await self.cluster.client.metric("default", metric.name, metric.selector)
            if response.status != 200:
                found.append(MetricUnavailable(response.error().message))
            else:
                found.append((Item(milli_value_of(response.item().value)),))
        return found


def picker(port: int) -> Object:
    """The endpoint picker's pod, with the labels of its chart."""
    pod = manifests.gateway_pod(port)
    metadata(pod)["labels"] = {"inferencepool": "chat-epp"}
    return pod


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A server that reads the gateway's page, and the manifest's Deployment with one pod."""
    async with (
        PageExporter(gateway_page({"chat": Flow("chat", 1)})) as gateway,
        cluster({}, [picker(gateway.port)], configuration(LOOPBACK)) as made,
    ):
        yield World(made, gateway)


async def test_zero_one_more_and_zero() -> None:
    """As the gateway's requests change; the model's pods are not read, and need not exist."""
    async with world() as model:
        # 300 seconds are 20 syncs.
        assert await model.sync(held=0, running=None, count=21) == [*[1] * 20, 0]
        assert await model.sync(held=0, running=0, count=3) == [0, 0, 0]
        assert await model.sync(held=1, running=0) == [1]
        assert await model.sync(held=3, running=0) == [3]
        assert await model.sync(held=0, running=40) == [3], "40 in flight take 3 pods"
        assert await model.sync(held=0, running=2, count=22) == [*[3] * 19, 1, 1, 1]
        assert await model.sync(held=0, running=0, count=21) == [*[1] * 19, 0, 0]


async def test_requests_in_flight_keep_their_pods() -> None:
    """With an empty queue, working pods are kept, however long they take."""
    async with world() as model:
        assert await model.sync(held=0, running=1, count=40) == [1] * 40


async def test_a_gateway_that_fails_keeps_the_replicas() -> None:
    """It is not 0: the workload keeps its replicas, at zero too."""
    async with world() as model:
        model.gateway.status = 500
        assert await model.sync(held=0, running=None, count=40) == [1] * 40
        model.gateway.status = 200
        await model.sync(held=0, running=0, count=21)
        assert model.replicas == 0
        model.gateway.status = 500
        assert await model.sync(held=5, running=0, count=3) == [0, 0, 0]
        unavailable = (await model.answers())[0]
        assert isinstance(unavailable, MetricUnavailable)
        assert "HTTP 500" in unavailable.message
        model.gateway.status = 200
        assert await model.sync(held=1, running=0) == [1]


def test_the_deployment_leaves_its_replicas_to_the_hpa() -> None:
    """It names no number of them, so that applying it again keeps the HPA's."""
    deployment = find(OBJECTS, "Deployment", str(at(HPA, "spec", "scaleTargetRef", "name")))
    assert "replicas" not in mapping(deployment, "spec")
    assert (
        mapping(deployment, "spec", "selector", "matchLabels").items()
        <= mapping(deployment, "spec", "template", "metadata", "labels").items()
    )
