"""Changes to the ConfigMap for a cluster's delegated authentication."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
from structlog.testing import capture_logs

from metrics_server.auth.delegation import (
    COLLECTION,
    NAME,
    QUERY,
    ConfigMap,
    DelegatedAuthentication,
    DelegationStore,
    decode_config_map,
    delegated_authentication,
    read_delegation,
)
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import CONFIG_MAPS, Object
from tests.support.client_certificates import authority
from tests.support.delegation import BUNDLES, DATA, RECORDED, config_map
from tests.support.waiting import until


def item(obj: Object) -> ConfigMap:
    """An object as a reflector passes it on."""
    return decode_config_map(msgspec.json.encode(obj))


@asynccontextmanager
async def followed(client: KubernetesClient, store: DelegationStore) -> AsyncIterator[None]:
    """A store that is kept up to date."""
    reflector = Reflector(client, COLLECTION, decode_config_map, store, query=QUERY)
    task = asyncio.create_task(reflector.run())
    try:
        async with asyncio.timeout(5):
            await reflector.synced.wait()
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_change_is_taken_over(cluster: tuple[KubernetesAPI, KubernetesClient]) -> None:
    """New CAs are used as soon as the cluster has them; listeners are called only on changes."""
    api, client = cluster
    api.apply(CONFIG_MAPS, RECORDED)
    api.apply(CONFIG_MAPS, {"metadata": {"name": "other", "namespace": "kube-system"}})
    store = DelegationStore(await read_delegation(client))
    told: list[DelegatedAuthentication] = []
    store.subscribe(told.append)
    rotated = DATA["requestheader-client-ca-file"] + authority().pem.decode()

    async with followed(client, store):
        api.apply(CONFIG_MAPS, config_map())
        api.apply(CONFIG_MAPS, config_map(requestheader_client_ca_file=rotated))
        await until(lambda: len(told) > 1)

    assert told == [delegated_authentication(DATA), store.value]
    assert store.value.request_header_ca == rotated.encode()
    assert store.last_error is None


async def test_the_last_good_value_is_kept(
    cluster: tuple[KubernetesAPI, KubernetesClient],
) -> None:
    """A malformed or deleted ConfigMap changes only `last_error`; a valid one is used again."""
    api, client = cluster
    api.apply(CONFIG_MAPS, RECORDED)
    good = await read_delegation(client)
    store = DelegationStore(good)
    told: list[DelegatedAuthentication] = []
    store.subscribe(told.append)

    async with followed(client, store):
        api.apply(CONFIG_MAPS, config_map(client_ca_file="nonsense"))
        await until(lambda: "client-ca-file" in (store.last_error or ""))
        assert store.value == good

        api.delete(CONFIG_MAPS, "kube-system", NAME)
        await until(lambda: "was deleted" in (store.last_error or ""))
        assert store.value == good

        api.apply(CONFIG_MAPS, config_map(requestheader_allowed_names="[]"))
        await until(lambda: store.last_error is None)
        assert store.value == delegated_authentication({**DATA, "requestheader-allowed-names": ""})

    assert told == [good, store.value]


async def test_it_is_gone_when_it_is_listed_again(
    cluster: tuple[KubernetesAPI, KubernetesClient],
) -> None:
    """A list without it counts as a deletion; a malformed one is ignored too."""
    api, client = cluster
    store = DelegationStore(delegated_authentication(DATA))

    async with followed(client, store):
        assert "no longer exists" in (store.last_error or "")

        api.apply(CONFIG_MAPS, config_map(requestheader_uid_headers="["))
        await until(lambda: "requestheader-uid-headers" in (store.last_error or ""))

    assert store.value == delegated_authentication(DATA)


@pytest.mark.parametrize("key", BUNDLES)
def test_a_ca_bundle_that_disappears_is_kept(key: str) -> None:
    """A CA bundle that disappears is an error; one that was never there is not."""
    store = DelegationStore(delegated_authentication(DATA))

    store.apply("MODIFIED", item(config_map(**{key: ""})))
    assert store.last_error is not None
    assert f"{key} is gone" in store.last_error
    assert store.value == delegated_authentication(DATA)

    without = DelegationStore(DelegatedAuthentication())
    without.apply("MODIFIED", item(config_map(**{key: ""})))
    assert without.last_error is None
    assert without.value == delegated_authentication({**DATA, key: ""})


def test_other_config_maps_are_passed_over() -> None:
    """ConfigMaps with other names are ignored, whatever happens to them."""
    store = DelegationStore(delegated_authentication(DATA))
    other = item({"metadata": {"name": "other"}, "data": {"client-ca-file": "nonsense"}})

    for change in ("ADDED", "MODIFIED", "DELETED"):
        store.apply(change, other)
    store.replace([other, item(config_map())])

    assert store.last_error is None


def test_what_is_wrong_is_logged_once() -> None:
    """A ConfigMap that stays malformed is logged once; so is its recovery."""
    store = DelegationStore(delegated_authentication(DATA))

    with capture_logs() as logs:
        for _ in range(3):
            store.apply("MODIFIED", item(config_map(client_ca_file="nonsense")))
        store.replace([item(config_map())])
        store.replace([item(config_map())])

    assert [line["log_level"] for line in logs] == ["warning", "info"]
    assert "client-ca-file" in logs[0]["error"]
