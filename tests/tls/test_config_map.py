"""Publishing the CA bundle in a ConfigMap."""

from collections.abc import Mapping

import msgspec
import pytest
from structlog.testing import capture_logs

from metrics_server.errors import KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import CONFIG_MAPS, metadata
from metrics_server.tls.api_service import EXTERNAL_METRICS, ApiServiceBundle
from metrics_server.tls.config_map import ConfigMapBundle
from tests.support.certificates import (
    CONFIG_MAP,
    NAMESPACE,
    SERVICE,
    Refusing,
    Replica,
    config_map,
    data,
    in_config_map,
    published,
)
from tests.support.clock import WallClock
from tests.support.publication import at_level


async def test_other_keys_and_labels_of_the_config_map_are_kept(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock
) -> None:
    """Everything else in it is kept, whoever wrote it."""
    theirs = config_map(note="theirs", **{"ca.crt": "old"})
    metadata(theirs)["labels"] = {"app": "x"}
    api.apply(CONFIG_MAPS, {**theirs, "binaryData": {"b": "eA=="}})
    await Replica(client, wall).settle()
    obj = api.store.get(CONFIG_MAPS, NAMESPACE, CONFIG_MAP)
    assert obj is not None
    assert obj["data"] == {"note": "theirs", "ca.crt": data(api)["ca.crt"].decode()}
    assert obj["binaryData"] == {"b": "eA=="}
    assert metadata(obj)["labels"] == {"app": "x"}


async def test_a_config_map_without_data_is_filled(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock
) -> None:
    """The manifests create it empty, so kube-apiserver omits `data`."""
    empty = config_map()
    del empty["data"]
    api.apply(CONFIG_MAPS, empty)
    await Replica(client, wall).settle()
    assert in_config_map(api) == data(api)["ca.crt"]


async def test_a_config_map_that_is_missing_is_created(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock
) -> None:
    """A missing ConfigMap is created where that is allowed, without any keys."""
    api.delete(CONFIG_MAPS, NAMESPACE, CONFIG_MAP)
    await Replica(client, wall, ()).settle()
    obj = api.store.get(CONFIG_MAPS, NAMESPACE, CONFIG_MAP)
    assert obj is not None
    assert obj["data"] == {"ca.crt": data(api)["ca.crt"].decode()}


async def test_a_config_map_that_may_not_be_created_is_a_warning(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock
) -> None:
    """There is one warning; the certificate is served, and the rest published."""
    api.delete(CONFIG_MAPS, NAMESPACE, CONFIG_MAP)
    replica = Replica(Refusing(client, {"/configmaps": 403}), wall)
    with capture_logs() as logs:
        for _ in range(3):
            await replica.settle()
    assert published(api) == data(api)["ca.crt"]
    assert replica.managed.check() is None
    (warning,) = at_level(logs, "warning")
    assert warning["configmap"] == f"{NAMESPACE}/{CONFIG_MAP}"
    assert warning["error"] == replica.error
    assert f"there is no ConfigMap {NAMESPACE}/{CONFIG_MAP}, and creating it is forbidden" in (
        replica.error
    )
    assert f"`kubectl -n {NAMESPACE} create configmap {CONFIG_MAP}`" in replica.error


@pytest.mark.parametrize("request_of", ["GET ", ""])
async def test_a_config_map_that_is_refused(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, request_of: str
) -> None:
    """The message says what to do."""
    replica = Replica(Refusing(client, {f"{request_of}/configmaps": 403}), wall)
    await replica.settle()
    assert published(api) == data(api)["ca.crt"]
    assert in_config_map(api) == b""
    assert replica.error.startswith(f"ca.crt of the ConfigMap {NAMESPACE}/{CONFIG_MAP} cannot be")
    assert "whose Role allows" in replica.error


@pytest.mark.parametrize("broken", [{"spec": 1}, {"spec": {"caBundle": "?"}}, {"metadata": {}}])
async def test_a_malformed_answer_is_an_error(
    client: KubernetesClient, broken: dict[str, object]
) -> None:
    """The error says which object is malformed."""

    class Answering:
        send = client.send

        async def get(
            self,
            path: str,
            query: Mapping[str, str],
            *,
            timeout: float,  # noqa: ASYNC109 - as in the client
        ) -> bytes:
            del path, query, timeout
            return msgspec.json.encode({"data": 1, **broken})

    with pytest.raises(KubernetesError, match=f"{EXTERNAL_METRICS} is malformed"):
        await ApiServiceBundle(Answering(), EXTERNAL_METRICS, NAMESPACE, SERVICE).read()
    with pytest.raises(KubernetesError, match=f"{CONFIG_MAP} is malformed"):
        await ConfigMapBundle(Answering(), NAMESPACE, CONFIG_MAP).read()
