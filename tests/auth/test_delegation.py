import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from metrics_server.auth.client_certificates import ClientCAs
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
from metrics_server.auth.request_header import RequestHeaderConfig
from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import CONFIG_MAPS, Object
from tests.support.client_certificates import authority
from tests.support.data import KUBE_API
from tests.support.kubernetes import kubernetes
from tests.support.waiting import until

RECORDED: Object = json.loads(
    (KUBE_API / "configmap-extension-apiserver-authentication.json").read_bytes()
)["response"]["body"]
DATA = msgspec.convert(RECORDED["data"], dict[str, str])

REQUEST_HEADER = RequestHeaderConfig(
    username_headers=("X-Remote-User",),
    group_headers=("X-Remote-Group",),
    extra_headers_prefixes=("X-Remote-Extra-",),
    allowed_names=("front-proxy-client",),
)
LISTS = (
    "requestheader-username-headers",
    "requestheader-group-headers",
    "requestheader-extra-headers-prefix",
    "requestheader-uid-headers",
    "requestheader-allowed-names",
)
BUNDLES = ("client-ca-file", "requestheader-client-ca-file")


def config_map(**data: str) -> Object:
    """The recorded ConfigMap with some of its data replaced; a key's dashes are underscores."""
    replaced = {key.replace("_", "-"): value for key, value in data.items()}
    return {
        "metadata": {"name": NAME, "namespace": "kube-system"},
        "data": {**DATA, **replaced},
    }


def item(obj: Object) -> ConfigMap:
    """An object as a reflector hands it over."""
    return decode_config_map(msgspec.json.encode(obj))


@asynccontextmanager
async def followed(client: KubernetesClient, store: DelegationStore) -> AsyncIterator[None]:
    """A store that is kept in step."""
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


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[KubernetesAPI, KubernetesClient]]:
    """A Kubernetes API without the ConfigMap, and a client of it."""
    async with kubernetes(tmp_path) as made:
        yield made


def test_a_recorded_config_map_is_understood() -> None:
    """What kube-apiserver publishes is taken over whole."""
    found = delegated_authentication(DATA)

    assert found == DelegatedAuthentication(
        DATA["client-ca-file"].encode(),
        DATA["requestheader-client-ca-file"].encode(),
        REQUEST_HEADER,
    )
    assert found.client_ca is not None
    assert found.request_header_ca is not None
    ClientCAs(found.client_ca)
    ClientCAs(found.request_header_ca)


def test_lists_are_json_in_strings() -> None:
    """Each list is an array of JSON, which Go writes as null where it is empty."""
    data = {
        **DATA,
        "requestheader-username-headers": '["A", "B"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-extra-headers-prefix": "null",
        "requestheader-group-headers": "[]",
        "requestheader-allowed-names": "",
    }

    assert delegated_authentication(data).request_header == RequestHeaderConfig(
        username_headers=("A", "B"), uid_headers=("X-Remote-Uid",)
    )


def test_what_is_missing_is_not_there() -> None:
    """A cluster may trust front proxies alone, client certificates alone, or nobody."""
    names = {key: value for key, value in DATA.items() if key not in BUNDLES}
    clients = {**names, BUNDLES[0]: DATA[BUNDLES[0]], BUNDLES[1]: " \n"}
    proxies = {**names, BUNDLES[1]: DATA[BUNDLES[1]]}

    assert delegated_authentication({}) == DelegatedAuthentication()
    assert delegated_authentication(names) == DelegatedAuthentication()
    assert delegated_authentication(clients) == DelegatedAuthentication(
        DATA["client-ca-file"].encode()
    )
    assert delegated_authentication(proxies) == DelegatedAuthentication(
        None, DATA["requestheader-client-ca-file"].encode(), REQUEST_HEADER
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in LISTS for value in ("X-Remote-User", '{"a": 1}', "[1]", "[")),
        *((key, value) for key in LISTS[:4] for value in ('[""]', '["A", " "]')),
        *((key, value) for key in BUNDLES for value in ("nonsense", DATA[BUNDLES[0]][:-60])),
    ],
)
def test_what_is_malformed_is_named(key: str, value: str) -> None:
    """A value that cannot be used is an error that names its key."""
    with pytest.raises(ValueError, match=f"^{key} "):
        delegated_authentication({**DATA, key: value})


async def test_reading_it(cluster: tuple[KubernetesAPI, KubernetesClient]) -> None:
    """At the start it is read by its name."""
    api, client = cluster
    api.apply(CONFIG_MAPS, RECORDED)

    assert await read_delegation(client) == delegated_authentication(DATA)
    assert [url.path for url in api.requests] == [f"{COLLECTION}/{NAME}"]


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("system:serviceaccount:gpu-monitoring:metrics", "--serviceaccount=gpu-monitoring:metrics"),
        ("alice", "--user=alice"),
    ],
)
async def test_reading_it_is_forbidden(
    cluster: tuple[KubernetesAPI, KubernetesClient], user: str, subject: str
) -> None:
    """If reading is forbidden, the error has the exact command that allows it."""
    api, client = cluster
    api.faults.refuse_next(
        403,
        f'configmaps "{NAME}" is forbidden: User "{user}" cannot get resource "configmaps" '
        'in API group "" in the namespace "kube-system"',
    )

    with pytest.raises(ConfigurationError) as raised:
        await read_delegation(client)

    assert "is forbidden" in str(raised.value)
    assert str(raised.value).endswith(
        "\nkubectl create rolebinding -n kube-system gpu-metrics-server-auth-reader "
        f"--role=extension-apiserver-authentication-reader {subject}"
    )


async def test_it_does_not_exist(cluster: tuple[KubernetesAPI, KubernetesClient]) -> None:
    """In a cluster without it, the error says what is missing, and which binding is needed."""
    with pytest.raises(ConfigurationError, match=f"kube-system/{NAME} does not exist") as raised:
        await read_delegation(cluster[1])

    assert "kubectl create rolebinding -n kube-system" in str(raised.value)
    assert "--serviceaccount=NAMESPACE:NAME" in str(raised.value)


async def test_it_is_malformed_at_the_start(
    cluster: tuple[KubernetesAPI, KubernetesClient],
) -> None:
    """What cannot be used ends the start with the key's name."""
    api, client = cluster
    api.apply(CONFIG_MAPS, config_map(requestheader_group_headers="X-Remote-Group"))

    with pytest.raises(ConfigurationError, match="requestheader-group-headers"):
        await read_delegation(client)


async def test_an_api_that_is_away_at_the_start(
    cluster: tuple[KubernetesAPI, KubernetesClient],
) -> None:
    """A failing API is not a configuration error: it may work a moment later."""
    api, client = cluster
    api.faults.refuse_next(503, "the server is shutting down")

    with pytest.raises(KubernetesError, match="shutting down"):
        await read_delegation(client)


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
    """What is malformed, or deleted, changes nothing but `last_error`; what is good again does."""
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
    """A ConfigMap that lost an authority is an accident; one that never had it is not."""
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
    """What has another name is not read, whatever happens to it."""
    store = DelegationStore(delegated_authentication(DATA))
    other = item({"metadata": {"name": "other"}, "data": {"client-ca-file": "nonsense"}})

    for change in ("ADDED", "MODIFIED", "DELETED"):
        store.apply(change, other)
    store.replace([other, item(config_map())])

    assert store.last_error is None


def test_what_is_wrong_is_logged_once() -> None:
    """A ConfigMap that stays malformed is not logged again; its recovery is."""
    store = DelegationStore(delegated_authentication(DATA))

    with capture_logs() as logs:
        for _ in range(3):
            store.apply("MODIFIED", item(config_map(client_ca_file="nonsense")))
        store.replace([item(config_map())])
        store.replace([item(config_map())])

    assert [line["log_level"] for line in logs] == ["warning", "info"]
    assert "client-ca-file" in logs[0]["error"]
