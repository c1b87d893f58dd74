"""Another writer of a caBundle is noticed, named and reported, and not overwritten endlessly."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.events import Events
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import (
    API_SERVICES,
    CONFIG_MAPS,
    SECRETS,
    Json,
    Object,
    metadata,
)
from metrics_server.tls.api_service import CUSTOM_METRICS, EXTERNAL_METRICS
from metrics_server.tls.authority import Authority
from tests.kube.test_events import EventApi
from tests.support.certificates import (
    NAMESPACE,
    Replica,
    api_service,
    config_map,
    data,
    in_config_map,
    published,
)
from tests.support.clock import WallClock
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected

THEIRS = Authority("KEDA").bundle
MINUTE = timedelta(minutes=1)
POLL = timedelta(seconds=30)


@pytest.fixture
async def event_api() -> AsyncIterator[EventApi]:
    """Where events are sent."""
    async with EventApi() as running:
        yield running


@pytest.fixture
async def events(event_api: EventApi, tmp_path: Path) -> AsyncIterator[Events]:
    """Events that are sent there."""
    async with connected(write_kubeconfig(tmp_path / "events", event_api.url)) as client:
        yield Events(client)


def overwrite(
    api: KubernetesAPI, bundle: bytes = THEIRS, manager: str = "keda", name: str = EXTERNAL_METRICS
) -> None:
    """Write a caBundle as another writer; an empty one is removed."""
    spec = {"caBundle": msgspec.to_builtins(bundle)} if bundle else {}
    changed = api_service(name, **spec)
    field: Object = {"f:spec": {"f:caBundle": {}}}
    metadata(changed)["managedFields"] = [
        # Both own a field that both set to the same value.
        *([_managed("zz-before", "2026-01-01T00:00:00Z", field)] if manager else []),
        _managed("kubectl", "2026-01-01T00:00:00Z", {"f:spec": {"f:service": {}}}),
        _managed("gpu-metrics-server", "2026-01-02T00:00:00Z", {"f:metadata": {}}),
        _managed(manager, "2026-01-03T00:00:00Z", field),
    ]
    api.apply(API_SERVICES, changed)


def _managed(manager: str, time: str, fields: Object) -> Object:
    return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields}


def warnings(logs: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """The logged warnings."""
    return [one for one in logs if one["log_level"] == "warning"]


async def test_another_writer_is_named_in_the_log_in_health_and_in_an_event(
    client: KubernetesClient,
    api: KubernetesAPI,
    wall: WallClock,
    events: Events,
    event_api: EventApi,
) -> None:
    """Once in each, with advice; the bundle is restored, and the certificate stays valid."""
    replica = Replica(client, wall, events=events)
    await replica.settle()
    overwrite(api)
    with capture_logs() as logs:
        await replica.settle()
        assert published(api) == data(api)["ca.crt"]
        wall.advance(POLL)
        overwrite(api)
        await replica.settle()
    (warning,) = warnings(logs)
    assert warning["event"] == "CA bundle overwritten"
    assert warning["apiservice"] == EXTERNAL_METRICS
    assert (warning["by"], warning["at"]) == ("keda", "2026-01-03T00:00:00Z")
    assert warning["error"] == replica.error
    assert replica.error == (
        f"keda overwrites the caBundle of the APIService {EXTERNAL_METRICS}, so kube-apiserver "
        "cannot verify gpu-metrics-server, and HPAs get no values; KEDA owns the external metrics "
        "API: set `externalMetrics: false`, see docs/keda.md"
    )
    assert replica.managed.check() is None

    (event,) = event_api.events
    found = api.store.get(API_SERVICES, "", EXTERNAL_METRICS)
    assert found is not None
    assert event["involvedObject"] == {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "name": EXTERNAL_METRICS,
        "uid": metadata(found)["uid"],
    }
    assert (event["reason"], event["message"]) == ("CABundleOverwritten", replica.error)


@pytest.mark.parametrize(
    ("name", "manager", "advice"),
    [
        (EXTERNAL_METRICS, "argocd", "stop that writer, or if KEDA is installed, KEDA owns"),
        (EXTERNAL_METRICS, "", "another writer overwrites"),
        (CUSTOM_METRICS, "adapter", "stop that writer, or set `customMetrics: false`"),
        (CUSTOM_METRICS, "cert-manager-cainjector", "cert-manager.io/inject-ca-from"),
    ],
)
async def test_the_advice_fits_the_writer(  # noqa: PLR0917
    client: KubernetesClient,
    api: KubernetesAPI,
    wall: WallClock,
    events: Events,
    name: str,
    manager: str,
    advice: str,
) -> None:
    """The advice depends on the writer and the API."""
    api.apply(API_SERVICES, api_service(name))
    replica = Replica(client, wall, [name], events=events)
    await replica.settle()
    overwrite(api, manager=manager, name=name)
    await replica.settle()
    assert replica.error.startswith(f"{manager or 'another writer'} overwrites the caBundle")
    assert name in replica.error
    assert advice in replica.error


@pytest.mark.slow
async def test_two_writers_do_not_answer_each_other_without_end(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, events: Events
) -> None:
    """The other one overwrites at once; the server writes only a few times an hour."""
    replica = Replica(client, wall, events=events)
    await replica.settle()
    with capture_logs() as logs:
        for _ in range(120):
            overwrite(api)
            await replica.settle()
            wall.advance(POLL)
    times = [one["event"] for one in logs].count("CA bundle published")
    assert 12 <= times <= 18
    assert len(warnings(logs)) == 1


async def test_a_contest_ends_when_ours_has_stayed(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, events: Events
) -> None:
    """A contest ends after ten minutes; another one can begin."""
    replica = Replica(client, wall, events=events)
    await replica.settle()
    for _ in range(4):
        overwrite(api)
        await replica.settle()
        wall.advance(POLL)
    with capture_logs() as logs:
        for _ in range(10):
            wall.advance(MINUTE)
            await replica.settle()
        assert "KEDA owns" in replica.error
        wall.advance(6 * MINUTE)
        await replica.settle()
        wall.advance(MINUTE)
        await replica.settle()
    assert published(api) == data(api)["ca.crt"]
    assert replica.error == ""
    assert [one["event"] for one in logs] == [
        "CA bundle published",
        "CA bundle no longer overwritten",
    ]
    overwrite(api)
    await replica.settle()
    assert "KEDA owns" in replica.error
    assert published(api) == data(api)["ca.crt"], "the first time it is put right at once"


async def test_a_bundle_that_was_there_before_ours_is_no_contest(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, events: Events
) -> None:
    """A bundle from before is no contest, nor an APIService that was deleted and created again."""
    overwrite(api)
    replica = Replica(client, wall, events=events)
    with capture_logs() as logs:
        await replica.settle()
        api.delete(API_SERVICES, "", EXTERNAL_METRICS)
        overwrite(api)
        await replica.settle()
    assert published(api) == data(api)["ca.crt"]
    assert replica.error == ""
    assert warnings(logs) == []


async def test_a_manifest_that_drops_the_bundle_once_is_no_contest(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, events: Events
) -> None:
    """Dropping it twice within an hour is one: someone applies it repeatedly."""
    replica = Replica(client, wall, events=events)
    await replica.settle()
    for _ in range(2):
        overwrite(api, b"")
        await replica.settle()
        assert replica.error == ""
        assert published(api) == data(api)["ca.crt"]
        wall.advance(61 * MINUTE)
    for _ in range(2):
        overwrite(api, b"")
        await replica.settle()
        wall.advance(MINUTE)
    assert "overwrites the caBundle" in replica.error


async def test_the_bundle_of_another_replica_is_no_contest(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, events: Events
) -> None:
    """A replica's bundle is not one, even with another authority, as after an emptied Secret."""
    replicas = [Replica(client, wall, events=events) for _ in range(2)]
    await replicas[0].settle()
    with capture_logs() as logs:
        for number in range(6):
            empty: Object = {"name": "gpu-metrics-server-certificates", "namespace": NAMESPACE}
            api.apply(SECRETS, {"metadata": empty, "data": {}})
            await replicas[(number + 1) % 2].settle()
            await replicas[number % 2].settle()
    assert warnings(logs) == []
    assert [one.error for one in replicas] == ["", ""]
    assert published(api) == data(api)["ca.crt"]


async def test_an_apiservice_that_is_given_away_ends_the_contest(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, events: Events
) -> None:
    """It then belongs to the other server, and only that is reported."""
    replica = Replica(client, wall, events=events)
    await replica.settle()
    overwrite(api)
    await replica.settle()
    theirs: Json = {"namespace": "keda", "name": "keda-operator-metrics-apiserver"}
    api.apply(API_SERVICES, api_service(service=theirs, caBundle="eA=="))
    await replica.settle()
    assert "overwrites" not in replica.error
    assert "names the Service keda/keda-operator-metrics-apiserver" in replica.error
    assert published(api) == b"x"


async def test_another_writer_of_the_config_map_is_named(
    client: KubernetesClient,
    api: KubernetesAPI,
    wall: WallClock,
    events: Events,
    event_api: EventApi,
) -> None:
    """The writer of this key is named, not of others."""
    replica = Replica(client, wall, events=events)
    await replica.settle()
    changed = config_map(**{"ca.crt": THEIRS.decode()})
    metadata(changed)["managedFields"] = [
        _managed("late", "2026-02-01T00:00:00Z", {"f:data": {"f:other": {}}}),
        _managed("flux", "2026-01-01T00:00:00Z", {"f:data": {".": {}, "f:ca.crt": {}}}),
    ]
    api.apply(CONFIG_MAPS, changed)
    await replica.settle()
    assert replica.error.startswith("flux overwrites ca.crt of the ConfigMap gpu-monitoring/")
    assert in_config_map(api) == data(api)["ca.crt"]
    assert [
        msgspec.convert(one["metadata"], dict[str, str])["namespace"] for one in (event_api.events)
    ] == [NAMESPACE]
