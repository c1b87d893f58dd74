"""Publishing the CA bundle in APIServices."""

from datetime import timedelta
from functools import partial

import msgspec
import pytest
from structlog.testing import capture_logs

from metrics_server.errors import KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import API_SERVICES, CONFIG_MAPS, Json, metadata
from metrics_server.tls.api_service import CUSTOM_METRICS, EXTERNAL_METRICS, ApiServiceBundle
from metrics_server.tls.config_map import ConfigMapBundle
from tests.support.certificates import (
    CONFIG_MAP,
    NAMESPACE,
    SERVICE,
    Refusing,
    Replica,
    api_service,
    config_map,
    data,
    in_config_map,
    published,
)
from tests.support.clock import WallClock
from tests.support.publication import at_level

BOTH = (EXTERNAL_METRICS, CUSTOM_METRICS)
KEDAS: Json = {"namespace": "keda", "name": "keda-operator-metrics-apiserver"}


@pytest.mark.parametrize("served", [(), BOTH[:1], BOTH[1:], BOTH])
async def test_each_apiservice_that_is_served_gets_the_bundle(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, served: tuple[str, ...]
) -> None:
    """The bundle is published in neither, one or both of them, and always in the ConfigMap."""
    api.apply(API_SERVICES, api_service(CUSTOM_METRICS))
    replica = Replica(client, wall, served)
    with capture_logs() as logs:
        await replica.settle()
    authority = data(api)["ca.crt"]
    for name in BOTH:
        assert published(api, name) == (authority if name in served else b"")
    assert in_config_map(api) == authority
    assert replica.error == ""
    written = [one for one in logs if one["event"] == "CA bundle published"]
    assert [one.get("apiservice") for one in written] == [*served, None]
    assert written[-1]["configmap"] == f"{NAMESPACE}/{CONFIG_MAP}"


async def test_an_apiservice_that_does_not_exist_is_no_problem(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock
) -> None:
    """A missing APIService is logged once; it gets the bundle once it exists, and may go again."""
    replica = Replica(client, wall, BOTH)
    with capture_logs() as logs:
        for _ in range(3):
            await replica.settle()
    assert published(api) == data(api)["ca.crt"]
    assert replica.error == ""
    assert replica.managed.check() is None
    assert at_level(logs, "warning") == []
    missing = [one for one in logs if one["event"] == "no APIService to publish the CA bundle in"]
    assert [one["apiservice"] for one in missing] == [CUSTOM_METRICS]

    api.apply(API_SERVICES, api_service(CUSTOM_METRICS))
    await replica.settle()
    assert published(api, CUSTOM_METRICS) == data(api)["ca.crt"]
    api.delete(API_SERVICES, "", CUSTOM_METRICS)
    with capture_logs() as logs:
        await replica.settle()
    assert [one["apiservice"] for one in at_level(logs, "info")] == [CUSTOM_METRICS]


@pytest.mark.parametrize(
    ("name", "setting"),
    [(EXTERNAL_METRICS, "externalMetrics: false"), (CUSTOM_METRICS, "customMetrics: false")],
)
async def test_the_apiservice_of_another_server_is_not_touched(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, name: str, setting: str
) -> None:
    """An APIService of KEDA or prometheus-adapter is left alone; the other one gets the bundle."""
    for each in BOTH:
        theirs = {"service": KEDAS, "caBundle": "eA=="} if each == name else {}
        api.apply(API_SERVICES, api_service(each, **theirs))
    replica = Replica(client, wall, BOTH)
    with capture_logs() as logs:
        for _ in range(2):
            await replica.settle()
    assert published(api, name) == b"x"
    (other,) = set(BOTH) - {name}
    assert published(api, other) == data(api)["ca.crt"]
    assert f"the APIService {name} names the Service keda/keda-operator" in replica.error
    assert f"set `{setting}`" in replica.error
    (warning,) = at_level(logs, "warning")
    assert warning["event"] == "CA bundle not published"
    assert (warning["apiservice"], warning["error"]) == (name, replica.error)


@pytest.mark.parametrize("code", [403, 422])
@pytest.mark.parametrize("request_of", ["GET ", ""])
@pytest.mark.parametrize("name", BOTH)
async def test_an_apiservice_that_is_refused_does_not_stop_the_other(  # noqa: PLR0917
    client: KubernetesClient,
    api: KubernetesAPI,
    wall: WallClock,
    name: str,
    request_of: str,
    code: int,
) -> None:
    """The message says which one, and what to do; it is logged again only if it changes."""
    api.apply(API_SERVICES, api_service(CUSTOM_METRICS))
    refusing = Refusing(client, {f"{request_of}{name}": code})
    replica = Replica(refusing, wall, BOTH)
    with capture_logs() as logs:
        for _ in range(3):
            await replica.settle()
    (other,) = set(BOTH) - {name}
    assert published(api, name) == b""
    assert published(api, other) == in_config_map(api) == data(api)["ca.crt"]
    assert replica.serving.certificate == data(api)["tls.crt"]
    done = "read" if request_of else "written"
    assert replica.error.startswith(f"the caBundle of the APIService {name} cannot be {done}: ")
    assert ("apply the manifests again" in replica.error) is (code == 403)
    (warning,) = at_level(logs, "warning")
    assert (warning["apiservice"], warning["error"]) == (name, replica.error)

    refusing.refused.clear()
    with capture_logs() as logs:
        await replica.settle()
    assert published(api, name) == data(api)["ca.crt"]
    assert replica.error == ""
    assert "CA bundle can be published again" in [one["event"] for one in logs]


async def test_an_api_that_fails_to_publish_is_an_error(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock
) -> None:
    """The write is retried, as nobody has to change anything; other places do not wait for it."""
    api.apply(API_SERVICES, api_service(CUSTOM_METRICS))
    refusing = Refusing(client, {EXTERNAL_METRICS: 500})
    replica = Replica(refusing, wall, BOTH)
    with pytest.raises(KubernetesError, match=f"{EXTERNAL_METRICS} cannot be written: .* not for"):
        await replica.settle()
    assert published(api, CUSTOM_METRICS) == in_config_map(api) == data(api)["ca.crt"]
    assert replica.error == ""
    refusing.refused.clear()
    await replica.settle()
    assert published(api) == data(api)["ca.crt"]


async def test_a_pair_is_renewed_though_the_bundle_cannot_be_written(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock
) -> None:
    """An admission webhook that always fails does not let the serving certificate expire."""
    replica = Replica(Refusing(client, {EXTERNAL_METRICS: 500}), wall)
    for _ in range(2):
        with pytest.raises(KubernetesError):
            await replica.settle()
        assert replica.serving.certificate == data(api)["tls.crt"]
        wall.advance(timedelta(days=61))
    assert len(replica.pairs) == 2
    assert replica.managed.check() is None


async def test_no_bundle_is_written_over_a_newer_one(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    """A slow replica does not overwrite what another has published since."""
    api_service_bundle = ApiServiceBundle(client, EXTERNAL_METRICS, NAMESPACE, SERVICE)
    config_map_bundle = ConfigMapBundle(client, NAMESPACE, CONFIG_MAP)
    writes = [
        partial(api_service_bundle.write, await api_service_bundle.read()),
        partial(config_map_bundle.write, await config_map_bundle.read()),
    ]
    api.apply(API_SERVICES, api_service(caBundle="eA=="))
    api.apply(CONFIG_MAPS, config_map(**{"ca.crt": "x"}))
    for write in writes:
        with pytest.raises(KubernetesError, match="has been modified") as raised:
            await write(b"old")
        assert raised.value.code == 409
    assert published(api) == in_config_map(api) == b"x"


async def test_verification_is_not_skipped(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock
) -> None:
    """An APIService that disables verification is corrected, and the rest of it is kept."""
    api.apply(API_SERVICES, api_service(insecureSkipTLSVerify=True))
    await Replica(client, wall).settle()
    obj = api.store.get(API_SERVICES, "", EXTERNAL_METRICS)
    assert obj is not None
    spec = msgspec.convert(obj["spec"], dict[str, object])
    assert "insecureSkipTLSVerify" not in spec
    assert spec["group"] == "external.metrics.k8s.io"
    assert metadata(obj)["labels"] == {"app": SERVICE}
    assert published(api) == data(api)["ca.crt"]
