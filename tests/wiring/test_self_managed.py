"""A whole server with `--self-managed-certs`: which APIServices it keeps up to date."""

import pytest
from aiohttp import ClientSession, TCPConnector
from msgspec import structs

from metrics_server.config.sections import Config
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import API_SERVICES, Json
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.api_service import CUSTOM_METRICS, EXTERNAL_METRICS
from metrics_server.wiring.server import running
from tests.support.certificates import NAME, api_service, in_config_map, published
from tests.support.harness import kubernetes_api, serve_options
from tests.support.peers import trusting
from tests.support.waiting import until

THEIRS: Json = {"namespace": "keda", "name": "keda-operator-metrics-apiserver"}


def apply_both(api: KubernetesAPI) -> None:
    """Install the server's APIService for external metrics, and another's for custom metrics."""
    api.apply(API_SERVICES, api_service())
    api.apply(API_SERVICES, api_service(CUSTOM_METRICS, service=THEIRS, caBundle="eA=="))


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            Config(),
            f"[+]ca-bundle ok, but: the APIService {CUSTOM_METRICS} names the Service keda/",
        ),
        (Config(custom_metrics=False), "[+]ca-bundle ok\n"),
        (Config(external_metrics=False), "[+]ca-bundle ok, but: the APIService v1beta2."),
    ],
)
async def test_the_apiservices_of_the_apis_that_are_served(config: Config, line: str) -> None:
    """The others are ignored; a problem is shown, and does not fail readiness."""
    async with kubernetes_api() as (api, authority), serve_options(api, authority) as options:
        SimulatedTrust(api)
        apply_both(api)
        managed = structs.replace(options, self_managed_certs=True)
        async with running(managed, config) as server:
            await until(lambda: in_config_map(api))
            await until(lambda: all(one.is_set() for one in server.synced.values()))
            context = trusting(in_config_map(api))
            async with (
                ClientSession(connector=TCPConnector(ssl=context)) as session,
                session.get(f"{server.url}/readyz?verbose", server_hostname=NAME) as response,
            ):
                text = await response.text()
    assert response.status == 200, text
    assert line in text
    expected = in_config_map(api) if config.external_metrics else b""
    assert published(api, EXTERNAL_METRICS) == expected
    assert published(api, CUSTOM_METRICS) == b"x"
