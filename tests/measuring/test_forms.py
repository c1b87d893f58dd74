"""The forms of an answer agree: the pods' own values, and the one value for all of them."""

import asyncio
from collections.abc import Sequence
from statistics import fmean

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from msgspec import Struct, structs
from prometheus_client import CollectorRegistry

from metrics_server.errors import RequestError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.measuring.aggregation import rounded
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Answer, Collection, Form, PodSample, Question
from metrics_server.measuring.selection import Measure
from metrics_server.measuring.windows import Windows
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule
from metrics_server.telemetry.metrics import Monitor

NOW = 1000.0
UTILIZATION = Rules(CATALOGUE).find("gpu_utilization")
METRICS = ("gpu_utilization", "gpu_utilization_sum", "gpu_utilization_max")


READY = Pod(
    namespace="default",
    name="ready",
    labels={"app": "a"},
    node="n",
    phase="Running",
    ready=True,
    terminating=False,
    gpus=1,
)


class Cluster(Struct, frozen=True):
    """Pods, and the values of GPUs with a sample, by the pod's namespace and name."""

    pods: tuple[Pod, ...]
    gpus: dict[tuple[str, str], tuple[float, ...]]

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """The pods in a namespace."""
        return tuple(pod for pod in self.pods if pod.namespace == namespace)

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """A sample for each pod that has one."""
        assert rule.readings
        await asyncio.sleep(0)
        found = [(pod.name, self.gpus.get((pod.namespace, pod.name), ())) for pod in pods]
        samples = tuple(PodSample(name, gpus, NOW) for name, gpus in found if gpus)
        return Collection(selected=len(pods), samples=samples)


async def ask(
    cluster: Cluster, metric: str, form: Form, measure: Measure = "ready", window: int = 0
) -> Answer:
    """The answer to a question about the pods of the app a."""
    rules = [structs.replace(rule, window=window) for rule in CATALOGUE]
    async with Windows(period=1, clock=lambda: NOW) as windows:
        provider = MetricsProvider(
            rules=Rules(rules),
            pods=cluster,
            measure=measure,
            source=cluster,
            min_coverage=0,
            windows=windows,
            fallback=FallbackChain(["error"], last_known_max_age=1, simulated=Simulated()),
            incidents=Incidents(),
            monitor=Monitor(CollectorRegistry()),
            clock=lambda: NOW,
        )
        return await provider.answer(Question("default", metric, parse_selector("app=a"), form))


VALUES = st.lists(st.floats(0, 100).map(lambda value: round(value, 2)), min_size=1, max_size=3)


ODD: Sequence[dict[str, object]] = (
    {"namespace": "other"},
    {"labels": {"app": "b"}},
    {"phase": "Pending", "ready": False},
    {"phase": "Succeeded"},
    {"ready": False},
    {"terminating": True},
    {"terminating": True, "ready": False},
    {"gpus": 0},
)


def pods(name: str) -> st.SearchStrategy[Pod]:
    """A pod that is selected, or differs from that in some way."""
    changes: st.SearchStrategy[dict[str, object]] = st.one_of(st.just({}), st.sampled_from(ODD))
    return changes.map(lambda changed: structs.replace(READY, name=name, **changed))


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Pods, some of the same name in two namespaces, some without a sample."""
    drawn = [draw(pods(f"pod-{n % 6}")) for n in range(draw(st.integers(1, 9)))]
    unique = {(pod.namespace, pod.name): pod for pod in drawn}
    gpus = {key: tuple(draw(VALUES)) for key in unique if draw(st.integers(0, 4))}
    return Cluster(tuple(unique.values()), gpus)


def counted(cluster: Cluster, measure: Measure) -> list[Pod]:
    """The pods that may have a value, by an independent definition."""
    return [
        pod
        for pod in cluster.pods
        if pod.namespace == "default"
        and pod.labels["app"] == "a"
        and pod.gpus
        and pod.phase == "Running"
        and (pod.ready or measure == "running")
        and not pod.terminating
    ]


@given(
    cluster=clusters(),
    metric=st.sampled_from(METRICS),
    measure=st.sampled_from(("ready", "running")),
    window=st.sampled_from((0, 60)),
)
def test_a_value_for_each_pod_that_has_a_sample_and_no_other(
    cluster: Cluster, metric: str, measure: Measure, window: int
) -> None:
    """Pods that are not selected or not measured have none, and the list is never empty."""
    expected = {
        pod.name for pod in counted(cluster, measure) if (pod.namespace, pod.name) in cluster.gpus
    }
    try:
        answer = asyncio.run(ask(cluster, metric, "pods", measure, window))
    except RequestError:
        event("none")
        assert not expected
    else:
        assert [one.pod for one in answer.pods] == [
            pod.name for pod in cluster.pods if pod.namespace == "default" and pod.name in expected
        ]
        assert expected


def complete(cluster: Cluster) -> Cluster:
    """A cluster in which every pod has a sample, and one pod is selected."""
    pods = (*(pod for pod in cluster.pods if not pod.terminating), READY)
    return Cluster(pods, {(pod.namespace, pod.name): (50.0,) for pod in pods} | cluster.gpus)


@pytest.mark.slow
@given(cluster=clusters().map(complete), window=st.sampled_from((0, 60)))
def test_the_mean_of_the_pods_is_the_one_value(cluster: Cluster, window: int) -> None:
    """They agree if all pods have a sample; only the one value counts terminating pods."""

    async def answers(metric: str) -> tuple[Answer, Answer, Answer]:
        each = await ask(cluster, metric, "pods", window=window)
        one = await ask(cluster, metric, "labelled", window=window)
        return each, one, await ask(cluster, metric, "plain", window=window)

    each, one, plain = asyncio.run(answers("gpu_utilization"))
    mean = fmean(value.value for value in each.pods)
    assert rounded(mean, 6) == rounded(one.value, 6) == rounded(each.value, 6)
    assert plain == one
    assert one.pods == plain.pods == ()
    each, one, plain = asyncio.run(answers("gpu_utilization_sum"))
    assert sum(value.value for value in each.pods) == pytest.approx(one.value)
    assert plain == one


async def test_with_a_window_each_pod_has_its_share_of_the_work() -> None:
    """The work of deleted pods is not lost, and all pods have the same value."""
    both = (structs.replace(READY, name="a"), structs.replace(READY, name="b"))
    cluster = Cluster(both, {("default", "a"): (20.0,), ("default", "b"): (60.0,)})
    answer = await ask(cluster, "gpu_utilization", "pods", window=60)
    assert [(one.pod, one.value) for one in answer.pods] == [("a", 40.0), ("b", 40.0)]
    assert answer.window == 60
