"""Events about what happens repeatedly: counted, and limited for each object."""

from pathlib import Path

from msgspec import structs

from metrics_server.kube.events import Events, Regarding
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import EVENTS, Object
from tests.support.clock import Clock
from tests.support.kubernetes import kubernetes

HPA = Regarding("autoscaling/v2", "HorizontalPodAutoscaler", "inference", "team", "u-1")
OTHER = structs.replace(HPA, name="other")
METRIC = "External metric gpu_utilization"


def stored(api: KubernetesAPI) -> list[Object]:
    """The events of the cluster."""
    return list(api.store.snapshot(EVENTS, api.store.version).values())


def expire(api: KubernetesAPI, event: Object) -> None:
    """Delete an event, as kube-apiserver does when it is old."""
    meta = event["metadata"]
    assert isinstance(meta, dict)
    api.delete(EVENTS, "team", str(meta["name"]))


async def falls_back(events: Events, message: str, regarding: Regarding = HPA) -> bool:
    """Emit an event that the metric falls back."""
    return await events.occurred("Warning", regarding, "SimulatedValue", METRIC, message)


async def test_what_happens_again_is_counted(tmp_path: Path) -> None:
    """Events with the same reason and metric are one, with the newest message."""
    async with kubernetes(tmp_path) as (api, client):
        events = Events(client)
        assert await falls_back(events, "one of two")
        assert await falls_back(events, "two of two")
        assert await events.occurred("Normal", HPA, "MeasurementRecovered", METRIC, "it is back")
        assert await falls_back(events, "one again")
        warning, normal = sorted(stored(api), key=lambda event: str(event["type"]), reverse=True)
    assert (warning["count"], warning["message"], warning["type"]) == (3, "one again", "Warning")
    assert (normal["count"], normal["message"], normal["type"]) == (1, "it is back", "Normal")


async def test_an_event_that_expired_is_created_again(tmp_path: Path) -> None:
    """A cluster may keep events for less than an hour."""
    async with kubernetes(tmp_path) as (api, client):
        events = Events(client)
        await falls_back(events, "first")
        (event,) = stored(api)
        expire(api, event)
        assert await falls_back(events, "second")
        (event,) = stored(api)
    assert (event["count"], event["message"]) == (1, "second")


async def test_after_an_hour_it_is_a_new_one(tmp_path: Path) -> None:
    """The one from the last hour has expired, as kube-apiserver deletes events."""
    clock = Clock()
    async with kubernetes(tmp_path) as (api, client):
        events = Events(client, clock=clock)
        await falls_back(events, "first")
        expire(api, stored(api)[0])
        clock.advance(3601)
        assert await falls_back(events, "second")
        assert [event["count"] for event in stored(api)] == [1]


async def test_no_object_gets_more_than_client_go_would_emit(tmp_path: Path) -> None:
    """25 at once and one more every five minutes; another object has its own limit."""
    clock = Clock()
    async with kubernetes(tmp_path) as (api, client):
        events = Events(client, clock=clock)
        emitted = [await falls_back(events, str(number)) for number in range(40)]
        assert emitted == [True] * 25 + [False] * 15
        assert await falls_back(events, "x", OTHER)
        clock.advance(299)
        assert not await falls_back(events, "too early")
        clock.advance(1)
        assert await falls_back(events, "in time")
        messages = {(event["message"], event["count"]) for event in stored(api)}
    assert messages == {("in time", 26), ("x", 1)}


async def test_without_the_right_to_patch_nothing_is_raised(tmp_path: Path) -> None:
    """An older ClusterRole only allows creating them."""
    async with kubernetes(tmp_path) as (api, client):
        events = Events(client)
        await falls_back(events, "first")
        api.faults.forbid("/events/")
        assert not await falls_back(events, "second")
        assert [event["message"] for event in stored(api)] == ["first"]
