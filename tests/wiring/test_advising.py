"""Warning events on HPAs, from whole servers in a simulated cluster."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from msgspec import Struct
from structlog.testing import capture_logs

from metrics_server.common.tasks import background
from metrics_server.config.rules import rules_in_force
from metrics_server.kube.freshness import WatchedPods
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import pod_decoder
from metrics_server.kube.reflector import Reflector
from metrics_server.measuring.incidents import Incidents
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import AUTOSCALERS, EVENTS, PODS, Json, Object
from metrics_server.telemetry.metrics import Monitor
from metrics_server.wiring.advising import advising
from metrics_server.wiring.server import running
from tests.support.clients import Answer
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster, configuration
from tests.support.kubernetes import kubernetes
from tests.support.objects import pod
from tests.support.waiting import eventually, until

PAGES = {"gpu-0": page({("default", "a"): [40]})}
MEAN = {"type": "AverageValue", "averageValue": "70"}
FINDINGS = "gpu_metrics_server_hpa_findings"


class Involved(Struct):
    """The object of an event."""

    kind: str
    namespace: str
    name: str
    uid: str


class Event(Struct, rename="camel"):
    """An event."""

    involved_object: Involved
    reason: str
    message: str
    type: str


def events(api: KubernetesAPI) -> list[Event]:
    """The events of the cluster."""
    found = api.store.snapshot(EVENTS, api.store.version)
    return [msgspec.convert(event, Event) for event in found.values()]


def reasons(api: KubernetesAPI) -> list[str]:
    """The reasons of all events, sorted."""
    return sorted(event.reason for event in events(api))


def hpa(
    metric: str,
    target: Mapping[str, Json],
    *,
    name: str = "inference",
    namespace: str = "default",
    selector: Json = None,
) -> Object:
    """An HPA with one External metric."""
    labels: Json = {"matchLabels": {"app": "inference"}} if selector is None else selector
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "inference"},
            "maxReplicas": 5,
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": {"name": metric, "selector": labels},
                        "target": {**target},
                    },
                }
            ],
        },
        "status": {"currentReplicas": 1},
    }


async def findings(simulated: Cluster) -> dict[str, float]:
    """The server's own metric, where it is not 0."""
    lines = (await simulated.client.ask("/metrics")).text.splitlines()
    samples = [line.rsplit(" ", 1) for line in lines if line.startswith(f"{FINDINGS}{{")]
    return {name.split('"')[1]: float(value) for name, value in samples if float(value)}


async def test_an_hpa_gets_one_event_for_each_change_of_what_is_wrong() -> None:
    """None while it works; fixed and broken differently, it gets another."""
    async with cluster(PAGES, [pod("a")]) as simulated:
        api = simulated.api
        made = api.apply(AUTOSCALERS, hpa("gpu_utilization", MEAN))
        await until(lambda: events(api))
        (event,) = events(api)
        assert event.type == "Warning"
        assert event.reason == "MeanUnderAverageValue"
        assert "ceil(70 / 70) = 1" in event.message
        meta = made["metadata"]
        assert isinstance(meta, dict)
        assert event.involved_object == Involved(
            "HorizontalPodAutoscaler", "default", "inference", str(meta["uid"])
        )
        await eventually(
            lambda: findings(simulated), lambda found: found == {"MeanUnderAverageValue": 1}
        )
        # Its status changes, but not the problem.
        changed = hpa("gpu_utilization", MEAN)
        changed["status"] = {"currentReplicas": 2}
        api.apply(AUTOSCALERS, changed)
        api.apply(AUTOSCALERS, hpa("gpu_utilization", {"type": "Value", "value": "70"}))
        await eventually(lambda: findings(simulated), lambda found: found == {})
        assert len(events(api)) == 1
        api.apply(AUTOSCALERS, hpa("gpu_utilization_sum", {"type": "Value", "value": "70"}))
        await until(lambda: len(events(api)) == 2)
        assert reasons(api) == ["MeanUnderAverageValue", "SumUnderValue"]
        # Those that work, and those of other metrics, get none.
        api.apply(AUTOSCALERS, hpa("gpu_utilization_sum", MEAN, name="sum"))
        api.apply(AUTOSCALERS, hpa("queue_length", MEAN, name="queue"))
        api.apply(AUTOSCALERS, hpa("gpu_utilisation", MEAN, name="last"))
        await until(lambda: len(events(api)) == 3)
        assert reasons(api) == ["MeanUnderAverageValue", "MetricNameUnknown", "SumUnderValue"]


async def test_two_servers_emit_an_event_once() -> None:
    """Each checks all HPAs, and the second finds the first one's event."""
    async with cluster(PAGES, [pod("a")]) as simulated, AsyncExitStack() as stack:
        await stack.enter_async_context(running(simulated.options, configuration()))
        api = simulated.api
        created = [url for url in api.requests if url.path.endswith("/events")]
        assert created == []
        for metric in ("gpu_utilization", "DCGM_FI_DEV_GPU_UTIL"):
            api.apply(AUTOSCALERS, hpa(metric, MEAN, name=metric.lower().replace("_", "-")))
        await until(lambda: [u.path[-7:] for u in api.requests].count("/events") == 4)
        assert reasons(api) == ["MeanUnderAverageValue"] * 2


async def test_a_server_without_the_rights_is_ready_and_says_so_once() -> None:
    """An older ClusterRole has no rule for HPAs; metrics are served as usual."""
    with capture_logs() as logs:
        async with cluster(PAGES, [pod("a")], forbidden=["horizontalpodautoscalers"]) as simulated:
            simulated.api.apply(AUTOSCALERS, hpa("gpu_utilization", MEAN))

            async def answered() -> Answer:
                return await simulated.client.metric("default", "gpu_utilization", "app=inference")

            def lists() -> int:
                paths = [url.path for url in simulated.api.requests]
                return sum(path.endswith("/horizontalpodautoscalers") for path in paths)

            await until(lambda: lists() >= 2)
            assert (await simulated.client.ask("/readyz")).text == "ok"
            assert (await simulated.client.ask("/livez")).text == "ok"
            assert (await answered()).item().value == "40"
            assert events(simulated.api) == []
    refused = [one for one in logs if "horizontalpodautoscalers" in str(one.get("error"))]
    assert [one["log_level"] for one in refused] == ["warning"]


async def test_warnings_can_be_turned_off() -> None:
    """Then HPAs are not even read."""
    config = configuration({"hpaWarnings": False})
    async with cluster(PAGES, [pod("a")], config) as simulated:
        simulated.api.apply(AUTOSCALERS, hpa("gpu_utilization", MEAN))
        assert await findings(simulated) == {}
        assert (await simulated.client.ask("/readyz")).text == "ok"
        text = (await simulated.client.ask("/metrics")).text
        assert FINDINGS not in text
        assert 'resource="pods"' in text
        assert not any("autoscal" in url.path for url in simulated.api.requests)


async def test_only_the_namespaces_that_are_watched_are_checked() -> None:
    """A server for some namespaces has rights only in those."""
    config = configuration({"pods": {"namespaces": ["default", "team"]}})
    namespaces = ("other", "team", "default")
    pods = [pod("a", namespace=name) for name in namespaces]
    async with cluster(PAGES, pods, config) as simulated:
        for name in namespaces:
            made = hpa("gpu_utilization", MEAN, namespace=name, name=name)
            simulated.api.apply(AUTOSCALERS, made)
        await until(lambda: len(events(simulated.api)) == 2)
        found = sorted(event.involved_object.namespace for event in events(simulated.api))
        assert found == ["default", "team"]
        paths = {url.path for url in simulated.api.requests if "autoscal" in url.path}
        assert paths == {
            f"/apis/autoscaling/v2/namespaces/{name}/horizontalpodautoscalers" for name in found
        }


async def test_hpas_are_checked_as_soon_as_the_pods_are_known(
    tmp_path: Path, monitor: Monitor
) -> None:
    """A large cluster's HPAs are listed long before its pods."""
    async with kubernetes(tmp_path) as (api, client), AsyncExitStack() as stack:
        api.apply(AUTOSCALERS, hpa("gpu_utilization", MEAN))
        api.apply(PODS, pod("a"))
        store = PodStore()
        reflector = Reflector(client, "/api/v1/pods", pod_decoder(), store)
        pods = WatchedPods(store, reflector)
        rules = rules_in_force((), gauges=True)
        made = advising(
            client,
            configuration(),
            rules,
            pods=pods,
            pod_watches=[reflector],
            incidents=Incidents(),
            monitor=monitor,
        )
        (watch,) = made.watches.values()
        for number, run in enumerate((watch.run, made.runs["check-hpas"])):
            await stack.enter_async_context(background(f"task-{number}", run))
        await until(watch.synced.is_set)
        assert events(api) == []
        await stack.enter_async_context(background("pods", reflector.run))
        await until(lambda: events(api))


async def test_an_api_that_is_off_has_no_findings() -> None:
    """KEDA may own the external metrics API, and a metric of that name."""
    config = configuration({"externalMetrics": False})
    async with cluster(PAGES, [pod("a")], config) as simulated:
        simulated.api.apply(AUTOSCALERS, hpa("gpu_utilization", MEAN, name="external"))
        wrong = hpa("gpu_utilization", MEAN, name="object")
        source: Json = {
            "describedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "inference"},
            "metric": {"name": "gpu_utilization"},
            "target": {**MEAN},
        }
        spec = wrong["spec"]
        assert isinstance(spec, dict)
        spec["metrics"] = [{"type": "Object", "object": source}]
        simulated.api.apply(AUTOSCALERS, wrong)
        await until(lambda: events(simulated.api))
        (event,) = events(simulated.api)
        assert event.involved_object.name == "object"


async def test_a_metric_that_falls_back_and_recovers_is_reported_on_its_hpa() -> None:
    """A Warning with the cause at the beginning, and a Normal event at the end."""
    right = {"type": "Value", "value": "70"}
    config = configuration({"exporters": {"maxAge": "1ms"}})
    async with cluster(PAGES, [pod("a")], config) as simulated:
        api, exporter = simulated.api, simulated.exporters["gpu-0"]
        api.apply(AUTOSCALERS, hpa("gpu_utilization", right))
        api.apply(
            AUTOSCALERS, hpa("gpu_utilization", right, name="other", selector={"matchLabels": {}})
        )

        async def asked() -> int:
            answer = await simulated.client.metric("default", "gpu_utilization", "app=inference")
            return answer.status

        exporter.status = 500
        assert await asked() == 503
        await until(lambda: events(api))
        exporter.status = 200
        assert await asked() == 200
        await until(lambda: len(events(api)) == 2)
        warning, normal = sorted(events(api), key=lambda event: event.reason)
    assert (warning.type, warning.reason) == ("Warning", "MeasurementFailed")
    assert warning.message.startswith(
        "External metric gpu_utilization has no answer: 0 of 1 pods have a measurement: exporter "
    )
    assert (normal.type, normal.reason) == ("Normal", "MeasurementRecovered")
    assert {warning.involved_object.name, normal.involved_object.name} == {"inference"}
