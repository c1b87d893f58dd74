"""The ConfigMap for a cluster's delegated authentication."""

import pytest

from metrics_server.auth.client_certificates import ClientCAs
from metrics_server.auth.delegation import (
    COLLECTION,
    NAME,
    DelegatedAuthentication,
    delegated_authentication,
    read_delegation,
)
from metrics_server.auth.request_header import RequestHeaderConfig
from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import CONFIG_MAPS
from tests.support.delegation import BUNDLES, DATA, RECORDED, config_map

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


def test_a_recorded_config_map_is_understood() -> None:
    """A real kube-apiserver's ConfigMap is read completely."""
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
    """Each list is a JSON array, which Go writes as null if it is empty."""
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
    """An invalid value is an error that names its key."""
    with pytest.raises(ValueError, match=f"^{key} "):
        delegated_authentication({**DATA, key: value})


async def test_reading_it(cluster: tuple[KubernetesAPI, KubernetesClient]) -> None:
    """At startup the ConfigMap is read by name."""
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
    """An invalid value at startup is an error that names the key."""
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
