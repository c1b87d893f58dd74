"""Changes from the page take effect in the simulation, or are rejected with a reason."""

import asyncio
from typing import get_args

import pytest

from metrics_server.simulator.autoscaling.hpa import ExternalMetric, PodsMetric
from metrics_server.simulator.demo.options import MetricType
from metrics_server.simulator.demo.queue import QueueScene
from tests.simulator.page.conftest import Stage, Visitor

HPA = {
    "metricType": "external",
    "target": 42.5,
    "minReplicas": 2,
    "maxReplicas": 7,
    "window": 30,
    "scaleUpPods": 1,
}


def demand(stage: Stage) -> float:
    """The demand on the pods, in percent of a GPU."""
    cluster = stage.cluster
    return sum(cluster.load.shares(cluster.pods, cluster.elapsed).values())


async def test_the_load_is_held_and_let_go(stage: Stage) -> None:
    """An amount fixes it; none lets it vary again."""
    status, controls = await stage.visitor.post("load", {"amount": 7.5})
    assert (status, controls["load"]) == (200, 7.5)
    assert demand(stage) == pytest.approx(750, abs=9)
    assert (await stage.visitor.post("load", {"amount": 0}))[1]["load"] == 0
    assert demand(stage) < 9
    status, controls = await stage.visitor.post("load", {"amount": None})
    assert (status, controls["load"]) == (200, None)
    assert demand(stage) > 100


async def test_a_fault_comes_and_goes(stage: Stage) -> None:
    """On the given number of exporters; a second one replaces the first."""
    exporters = stage.cluster.exporters
    status, controls = await stage.visitor.post("fault", {"kind": "down", "exporters": 2})
    assert (status, controls["fault"], controls["exporters"]) == (200, "down", 2)
    for exporter in exporters:
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection("127.0.0.1", exporter.port)
    _, controls = await stage.visitor.post("fault", {"kind": "error", "exporters": 1})
    assert (controls["fault"], controls["exporters"]) == ("error", 1)
    assert [e.fault.kind if e.fault else None for e in exporters] == ["error", None]
    _, controls = await stage.visitor.post("fault", {"kind": None, "exporters": 1})
    assert (controls["fault"], controls["exporters"]) == (None, 0)
    assert not any(exporter.fault for exporter in exporters)


async def test_many_faults_at_once_leave_every_exporter_in_order(stage: Stage) -> None:
    """An exporter never starts twice, however fast its fault changes."""
    kinds = ["down", None, "error", "down", None] * 4
    answers = await asyncio.gather(
        *(stage.visitor.post("fault", {"kind": kind, "exporters": 2}) for kind in kinds)
    )
    assert {status for status, _ in answers} == {200}
    await stage.visitor.post("fault", {"kind": None, "exporters": 2})
    for exporter in stage.cluster.exporters:
        async with stage.visitor.session.get(exporter.url) as response:
            assert response.status == 200


async def test_the_hpa_is_changed(stage: Stage) -> None:
    """Every field, also in the object that kubectl shows, at the next sync."""
    status, controls = await stage.visitor.post("hpa", HPA)
    assert status == 200
    assert HPA.items() <= controls.items()
    hpa = stage.controller.hpa
    assert hpa is stage.scene.hpa
    assert hpa.metrics == (ExternalMetric("gpu_utilization", "app=inference", "Value", 42_500),)
    assert (hpa.min_replicas, hpa.max_replicas, hpa.stabilization_window) == (2, 7, 30)
    assert hpa.scale_up_pods == 1


@pytest.mark.parametrize("signal", ["queue"])
@pytest.mark.parametrize("kind", get_args(MetricType))
async def test_the_hpa_of_the_queue_keeps_its_other_metrics(stage: Stage, kind: MetricType) -> None:
    """Target and type apply to the first metric; zero replicas are allowed."""
    others = stage.scene.hpa.metrics[1:]
    change = HPA | {"metricType": kind, "target": 5, "minReplicas": 0}
    status, _ = await stage.visitor.post("hpa", change)
    first, *rest = stage.controller.hpa.metrics
    assert status == 200
    assert (first.name, first.target, tuple(rest)) == ("llm_requests_waiting", 5000, others)
    assert isinstance(first, PodsMetric if kind == "pods" else ExternalMetric)


@pytest.mark.parametrize("signal", ["queue"])
async def test_the_load_of_the_queue_is_requests(stage: Stage) -> None:
    """Requests per second; there are no exporter faults, as they would change nothing."""
    assert isinstance(stage.scene, QueueScene)
    traffic = stage.scene._fleet.traffic
    assert (await stage.visitor.post("load", {"amount": 12}))[0] == 200
    assert traffic.rate(0) == traffic.rate(30) == 12
    await stage.visitor.post("load", {"amount": None})
    assert traffic.rate(0) < traffic.rate(5) > traffic.rate(30)
    status, answer = await stage.visitor.post("fault", {"kind": "down", "exporters": 1})
    assert (status, answer["message"]) == (422, "this demo has no fault down")


REJECTED = [
    ("load", {"amount": -1}, "amount", "the load must be from 0 to 8, not -1"),
    ("load", {"amount": 8.1}, "amount", "the load must be from 0 to 8, not 8.1"),
    ("load", {"amount": 1e308}, "amount", "the load must be from 0 to 8"),
    ("fault", {"kind": "down", "exporters": 0}, "exporters", "must be from 1 to 2, not 0"),
    ("fault", {"kind": "down", "exporters": 3}, "exporters", "must be from 1 to 2, not 3"),
    ("fault", {"kind": "down", "exporters": 10**400}, "exporters", "from 1 to 2, not 1000"),
    ("fault", {"kind": "hang", "exporters": 1}, "kind", "this demo has no fault hang"),
    ("hpa", HPA | {"target": 0}, "target", "the target must be from 0.001 to 100, not 0"),
    ("hpa", HPA | {"target": 101}, "target", "the target must be from 0.001 to 100, not 101"),
    ("hpa", HPA | {"minReplicas": 0}, "minReplicas", "minReplicas must be from 1 to 7, not 0"),
    ("hpa", HPA | {"minReplicas": 8}, "minReplicas", "minReplicas must be from 1 to 7, not 8"),
    ("hpa", HPA | {"maxReplicas": 0}, "maxReplicas", "maxReplicas must be from 1 to 8, not 0"),
    ("hpa", HPA | {"maxReplicas": 9}, "maxReplicas", "maxReplicas must be from 1 to 8, not 9"),
    ("hpa", HPA | {"window": -1}, "window", "window must be from 0 to 600, not -1"),
    ("hpa", HPA | {"window": 601}, "window", "window must be from 0 to 600, not 601"),
    ("hpa", HPA | {"scaleUpPods": 0}, "scaleUpPods", "must be from 1 to 8, not 0"),
]


@pytest.mark.parametrize(("path", "body", "field", "words"), REJECTED)
async def test_a_value_that_is_out_of_bounds(
    stage: Stage, path: str, body: object, field: str, words: str
) -> None:
    """The error names the field and its bounds, and nothing changes."""
    before = (stage.controller.hpa, stage.cluster.load)
    status, answer = await stage.visitor.post(path, body)
    assert (status, answer["field"]) == (422, field)
    assert words in str(answer["message"])
    assert (stage.controller.hpa, stage.cluster.load) == before
    assert not any(exporter.fault for exporter in stage.cluster.exporters)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("load", b"", "truncated"),
        ("load", b"\xff\xfe", "malformed"),
        ("load", b'{"amount":' + b"[" * 4000, "Expected `float | null`"),
        ("load", b'{"amount":1e999}', "out of range"),
        ("load", b"[]", "Expected `object`"),
        ("load", {}, "missing required field `amount`"),
        ("load", {"amount": "7"}, "Expected `float | null`, got `str`"),
        ("load", {"amount": 7, "extra": 1}, "unknown field `extra`"),
        ("load", b'{"amount": NaN}', "malformed"),
        ("fault", {"kind": "fire", "exporters": 1}, "Invalid enum value 'fire'"),
        ("hpa", HPA | {"metricType": "object"}, "Invalid enum value 'object'"),
        ("hpa", HPA | {"minReplicas": 1.5}, "Expected `int`"),
    ],
)
async def test_a_body_that_is_not_a_change(
    visitor: Visitor, path: str, body: object, words: str
) -> None:
    """It is a 400 with the reason."""
    status, answer = await visitor.post(path, body)
    assert status == 400
    assert words in str(answer["message"])


async def test_bodies_are_bounded(visitor: Visitor) -> None:
    """A body over the limit is not read."""
    assert (await visitor.post("load", b"{" + b" " * 5000 + b"}"))[0] == 413


async def test_only_json_is_a_change(visitor: Visitor) -> None:
    """Another site's form could send text without a preflight request."""
    status, _ = await visitor.post("load", b'{"amount":1}', {"Content-Type": "text/plain"})
    assert status == 415


async def test_changes_are_posted(visitor: Visitor) -> None:
    """A link changes nothing."""
    assert (await visitor.get("load"))[0] == 405
