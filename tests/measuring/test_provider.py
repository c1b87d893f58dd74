"""The provider: which pods are measured, and the answer if none can be."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from metrics_server.errors import (
    MeasurementMissingError,
    NoGpuRequestedError,
    NoPodMatchesError,
    NoPodMeasurableError,
    RequestError,
    UnknownMetricError,
)
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.measuring.fallback import FallbackChain, FallbackKind, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Answer, Collection, Gap, PodSample, Question
from metrics_server.measuring.selection import Measure
from metrics_server.measuring.windows import Windows
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule
from metrics_server.telemetry.metrics import Monitor

NOW = 1000.0
READY = Pod(
    namespace="default",
    name="ready",
    labels={"app": "a"},
    node="gpu-0",
    phase="Running",
    ready=True,
    terminating=False,
    gpus=1,
)


@dataclass
class Cluster:
    """Existing pods, and a source's values for them, by name."""

    pods: Sequence[Pod]
    utilization: dict[str, float] = field(default_factory=dict)
    measured: list[str] = field(default_factory=list)

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """The pods in a namespace."""
        return tuple(pod for pod in self.pods if pod.namespace == namespace)

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """A sample for each pod with a given utilization; a failed exporter for the others."""
        assert rule.readings
        self.measured = [pod.name for pod in pods]
        return Collection(
            selected=len(pods),
            samples=tuple(
                PodSample(pod.name, (self.utilization[pod.name],), NOW - 1)
                for pod in pods
                if pod.name in self.utilization
            ),
            gaps=(Gap("exporters-failed", "exporter http://10.0.0.1:9400 answered HTTP 500"),),
        )


def provider(
    cluster: Cluster,
    monitor: Monitor,
    *,
    measure: Measure = "ready",
    chain: Sequence[FallbackKind] = ("last-known", "simulated"),
) -> MetricsProvider:
    """A provider for a cluster, at a fixed time."""
    return MetricsProvider(
        rules=Rules(CATALOGUE),
        pods=cluster,
        measure=measure,
        source=cluster,
        min_coverage=0.5,
        windows=Windows(period=1),
        incidents=Incidents(),
        fallback=FallbackChain(
            chain,
            last_known_max_age=60,
            simulated=Simulated(),
            clock=lambda: NOW,
        ),
        monitor=monitor,
        clock=lambda: NOW,
    )


def question(selector: str = "app=a", metric: str = "gpu_utilization") -> Question:
    """A question about pods in the namespace default."""
    return Question("default", metric, parse_selector(selector))


def pod(name: str, **changes: object) -> Pod:
    """A pod like READY, with another name and these changes."""
    return structs.replace(READY, name=name, **changes)


async def test_the_mean_over_the_selected_pods(monitor: Monitor) -> None:
    """Pods with other labels or in other namespaces never influence the value."""
    cluster = Cluster(
        [
            pod("a1"),
            pod("a2"),
            pod("b1", labels={"app": "b"}),
            pod("a3", namespace="other"),
        ],
        {"a1": 40, "a2": 80, "b1": 0, "a3": 0},
    )
    answer = await provider(cluster, monitor).answer(question())
    assert answer == Answer(60, 0, NOW - 1, "exporters", 2, 2, ceiling=100)


OTHERS = [
    pod("not-ready", ready=False),
    pod("pending", phase="Pending", ready=False),
    pod("succeeded", phase="Succeeded", ready=False),
    pod("terminating", terminating=True),
    pod("no-gpu", gpus=0),
]


@pytest.mark.parametrize(
    ("measure", "measured"),
    [("ready", ["ready", "terminating"]), ("running", ["ready", "not-ready", "terminating"])],
)
async def test_which_pods_are_measured(
    monitor: Monitor, measure: Measure, measured: list[str]
) -> None:
    """Running and Ready pods with a GPU, terminating or not; `running` includes those not Ready."""
    ended = pod("ended", ready=False, terminating=True)
    cluster = Cluster([READY, *OTHERS, ended], dict.fromkeys(measured, 50))
    await provider(cluster, monitor, measure=measure).answer(question())
    assert cluster.measured == measured


async def test_pods_that_are_all_terminating_are_an_error(monitor: Monitor) -> None:
    """A workload that is replaced as a whole has no work left, but must not shrink for that."""
    pods = [pod("a", terminating=True), pod("b", terminating=True), pod("new", ready=False)]
    with pytest.raises(NoPodMeasurableError, match="2 terminating, 1 Running but not Ready"):
        await provider(Cluster(pods, {"a": 0, "b": 0}), monitor).answer(question())


async def test_running_pods_without_a_ready_one_are_an_error(monitor: Monitor) -> None:
    """The HPA would multiply their 95 % by 0 Ready pods, and scale to its minimum."""
    pods = [pod(f"p{n}", ready=False) for n in range(4)]
    cluster = Cluster(pods, {one.name: 95 for one in pods})
    with pytest.raises(
        NoPodMeasurableError, match="none can be measured yet: 4 Running but not Ready"
    ):
        await provider(cluster, monitor, measure="running").answer(question())


@pytest.mark.parametrize(
    ("pods", "selector", "error", "message"),
    [
        (
            [READY],
            "app=typo",
            NoPodMatchesError,
            (
                'no pods in namespace "default" match "app=typo": compare the metric\'s selector '
                "in the HPA with the labels of the pods (kubectl get pods -n default --show-labels)"
            ),
        ),
        (
            [],
            "",
            NoPodMatchesError,
            (
                'no pods in namespace "default": compare the metric\'s selector in the HPA with '
                "the labels of the pods (kubectl get pods -n default --show-labels)"
            ),
        ),
        (
            [pod("x", gpus=0), pod("y", gpus=0)],
            "app=a",
            NoGpuRequestedError,
            (
                'pods in namespace "default" match "app=a" (2), but none of them requests a GPU: a '
                "container must set resources.limits for one of the resources under "
                "pods.gpuResources, such as nvidia.com/gpu"
            ),
        ),
        (
            OTHERS,
            "app=a",
            NoPodMeasurableError,
            (
                'GPU pods in namespace "default" match "app=a" (4), but none can be '
                "measured yet: 1 Running but not Ready, 1 Pending, 1 Succeeded, 1 terminating"
            ),
        ),
    ],
)
async def test_no_pod_to_measure(
    monitor: Monitor, pods: list[Pod], selector: str, error: type[RequestError], message: str
) -> None:
    """Each case without pods has its own error, whatever the fallback chain."""
    with pytest.raises(error) as raised:
        await provider(Cluster(pods), monitor).answer(question(selector))
    assert str(raised.value) == message


async def test_an_unknown_metric_does_not_fall_back(monitor: Monitor) -> None:
    """An unknown metric is an error, never a simulated value."""
    with pytest.raises(UnknownMetricError):
        await provider(Cluster([READY]), monitor).answer(question(metric="cpu"))


async def test_a_missing_measurement_falls_back(
    monitor: Monitor, registry: CollectorRegistry
) -> None:
    """The fallback is reported in the answer, in a warning, and in a count."""
    with capture_logs() as logs:
        answer = await provider(Cluster([READY]), monitor).answer(question())
    assert 60 <= answer.value <= 90
    assert structs.replace(answer, value=0) == Answer(0, 0, NOW, "simulated", 0, 0)
    assert logs == [
        {
            "event": "Failed to get real metrics",
            "log_level": "warning",
            "answered": "simulated",
            "metric": "gpu_utilization",
            "namespace": "default",
            "selector": "app=a",
            "reason": "exporters-failed",
            "error": "0 of 1 pods have a measurement: "
            "exporter http://10.0.0.1:9400 answered HTTP 500",
        }
    ]
    counted = registry.get_sample_value(
        "gpu_metrics_server_fallback_answers_total", {"kind": "simulated"}
    )
    assert counted == 1


async def test_the_last_known_value_is_repeated_while_it_lasts(monitor: Monitor) -> None:
    """A real value from before takes precedence over a simulated one."""
    cluster = Cluster([READY], {"ready": 33})
    asked = provider(cluster, monitor)
    await asked.answer(question())
    cluster.utilization.clear()
    assert await asked.answer(question()) == Answer(33, 0, NOW - 1, "last-known", 1, 1, ceiling=100)


async def test_an_error_ends_the_chain(monitor: Monitor, registry: CollectorRegistry) -> None:
    """With `error` the HPA gets the reason, which is also logged and counted."""
    with capture_logs() as logs, pytest.raises(MeasurementMissingError, match="HTTP 500"):
        await provider(Cluster([READY]), monitor, chain=["error"]).answer(question())
    assert [(log["event"], log["answered"]) for log in logs] == [
        ("Failed to get real metrics", "error")
    ]
    counted = registry.get_sample_value(
        "gpu_metrics_server_measurements_missing_total", {"reason": "exporters-failed"}
    )
    assert counted == 1
