"""Which HPAs get an event when a metric falls back, and its text."""

import asyncio
from collections.abc import Iterable

import pytest
from msgspec import structs

from metrics_server.advising.fallbacks import FallbackEvents
from metrics_server.common.tasks import background
from metrics_server.errors import NoObjectError
from metrics_server.kube.autoscalers import Autoscaler
from metrics_server.kube.events import EventType, Regarding
from metrics_server.kube.labels import Selector, parse_selector
from metrics_server.kube.series_selectors import split
from metrics_server.kube.workloads import Kind
from metrics_server.measuring.incidents import Change
from metrics_server.measuring.samples import Form, Question
from tests.advising.manifests import hpa
from tests.support.waiting import until

EXTERNAL = (
    "- {type: External, external: {metric: {name: gpu_utilization, selector: {matchLabels: {app: a,"
    ' tier: b}}}, target: {value: "70"}}}'
)
PODS = (
    "- {type: Pods, pods: {metric: {name: GPU_Utilization}, target: {type: AverageValue,"
    ' averageValue: "70"}}}'
)
OBJECT = (
    "- {type: Object, object: {describedObject: {apiVersion: apps/v1, kind: Deployment, name: "
    'inference}, metric: {name: gpu_utilization}, target: {type: Value, value: "70"}}}'
)


SERVICE, NAMESPACE = (
    OBJECT.replace("apiVersion: apps/v1, kind: Deployment, name: inference", f"kind: {named}")
    for named in ("Service, name: web", "Namespace, name: default")
)


class Objects:
    """Knows the selectors of the Deployment inference and of the Service web."""

    async def selector(self, kind: Kind, namespace: str, name: str) -> Selector:
        """Return one."""
        known = {("Deployment", "inference"): "app=a,tier=b", ("Service", "web"): "app=web"}
        if (kind.kind, name) not in known:
            raise NoObjectError(f"there is no {kind.kind} {namespace}/{name}")
        return parse_selector(known[kind.kind, name])


class Recorder:
    """Records events."""

    def __init__(self) -> None:
        self.events: list[tuple[EventType, str, str, str, str]] = []

    async def occurred(
        self, kind: EventType, regarding: Regarding, reason: str, about: str, message: str
    ) -> bool:
        """Record one."""
        self.events.append((kind, regarding.name, reason, about, message))
        return True


def _selecting(metric: str) -> str:
    """The metric with its own selector."""
    return metric.replace(
        "{name: gpu_utilization}", "{name: gpu_utilization, selector: {matchLabels: {tier: x}}}"
    )


def change(
    form: Form, selector: str = "tier=b,app=a", answered: str = "simulated", seconds: float = 0
) -> Change:
    """A change of the answer about the pods of the Deployment inference."""
    chosen, series = split(parse_selector(selector))
    question = Question("default", "gpu_utilization", chosen, form, series=series)
    error = "" if answered == "exporters" else "0 of 1 pods have a measurement: why"
    return Change(question, frozenset({"Deployment/inference"}), answered, error, seconds)


async def events(
    hpas: Iterable[Autoscaler], *changes: Change
) -> list[tuple[EventType, str, str, str, str]]:
    """The events for these changes, until the one on another HPA."""
    recorder, known = Recorder(), list(hpas)
    reporter = FallbackEvents(lambda _: known, Objects(), recorder)
    for one in changes:
        reporter.turn(one)
    async with background("report-fallbacks", reporter.run):
        await until(lambda: not reporter._waiting)
        known[:] = [structs.replace(hpa(PODS), name="last")]
        reporter.turn(change("pods"))
        await until(lambda: recorder.events and recorder.events[-1][1] == "last")
    return recorder.events[:-1]


@pytest.mark.parametrize(
    ("answered", "kind", "reason", "message"),
    [
        (
            "last-known",
            "Warning",
            "LastKnownValue",
            "is answered with its last known value: 0 of 1 pods have a measurement: why",
        ),
        (
            "simulated",
            "Warning",
            "SimulatedValue",
            "is answered with a simulated value: 0 of 1 pods have a measurement: why",
        ),
        (
            "error",
            "Warning",
            "MeasurementFailed",
            "has no answer: 0 of 1 pods have a measurement: why",
        ),
        (
            "exporters",
            "Normal",
            "MeasurementRecovered",
            "is measured again, after 1 min 30 s.",
        ),
    ],
)
async def test_each_turn_has_its_event(
    answered: str, kind: EventType, reason: str, message: str
) -> None:
    """It names the metric, what the HPA gets, and the cause."""
    turn = change("labelled", answered=answered, seconds=90)
    name = "External metric gpu_utilization"
    assert (await events([hpa(EXTERNAL)], turn))[:1] == [
        (kind, "inference", reason, name, f"{name} {message}")
    ]


@pytest.mark.parametrize(
    ("metric", "form", "selector", "asks"),
    [
        (EXTERNAL, "labelled", "app=a,tier=b", True),
        (EXTERNAL, "labelled", "app=a", False),
        (EXTERNAL, "labelled", "app=a,tier=b,x=y", False),
        (EXTERNAL, "pods", "app=a,tier=b", False),
        (PODS, "pods", "of=deployment", True),
        (PODS, "labelled", "of=deployment", False),
        (OBJECT, "plain", "app=a,tier=b", True),
        (OBJECT, "pods", "app=a,tier=b", False),
        (OBJECT.replace("inference", "other"), "plain", "app=a,tier=b", False),
        (OBJECT.replace("Deployment", "Ingress"), "plain", "app=a,tier=b", False),
        (SERVICE, "plain", "app=web", True),
        (SERVICE, "plain", "app=a,tier=b", False),
        (SERVICE, "plain", "", False),
        (_selecting(SERVICE), "plain", "tier=x,app=web", True),
        (_selecting(SERVICE), "plain", "app=web", False),
        (NAMESPACE, "plain", "", True),
        (NAMESPACE, "plain", "app=web", False),
        (NAMESPACE.replace("default", "other"), "plain", "", False),
        (_selecting(NAMESPACE), "plain", "tier=x", True),
        (PODS.replace("GPU_Utilization", "gpu_power_watts"), "pods", "of=deployment", False),
    ],
)
async def test_only_hpas_that_ask_the_question_get_it(
    metric: str, form: Form, selector: str, *, asks: bool
) -> None:
    """The same metric may well be measured for other pods."""
    assert len(await events([hpa(metric)], change(form, selector))) == asks


async def test_a_pods_metric_is_of_the_scale_target() -> None:
    """An HPA for another workload in the namespace gets no event."""
    other = hpa(PODS, target="Deployment/other")
    assert await events([other], change("pods")) == []


async def test_a_selector_of_series() -> None:
    """An HPA for another model does not get the event."""
    of_a, of_b = (
        structs.replace(
            hpa(EXTERNAL.replace("app: a", f"app: a, series/model_name: {model}")), name=model
        )
        for model in "ab"
    )
    hpas = [hpa(EXTERNAL), of_a, of_b]
    one = await events(hpas, change("labelled", "app=a,tier=b,series/model_name=b"))
    assert [name for _, name, *_ in one] == ["b"]
    whole = await events(hpas, change("labelled"))
    assert [name for _, name, *_ in whole] == ["inference"]


async def test_many_turns_do_not_block_others() -> None:
    """Changes that concern no HPA are skipped, but others get their turn in between."""
    reporter = FallbackEvents(lambda _: [], Objects(), Recorder())
    for _ in range(100):
        reporter.turn(change("labelled"))
    async with background("report-fallbacks", reporter.run):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert reporter._waiting
        await until(lambda: not reporter._waiting)
