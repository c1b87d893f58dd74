"""The pod proxy of the simulated Kubernetes API, against kube-apiserver's messages."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS
from tests.support.kubernetes import kubernetes, serving

NAMESPACE = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[KubernetesAPI, KubernetesClient]]:
    """A Kubernetes API and its client."""
    async with kubernetes(tmp_path) as made:
        yield made


async def _status(client: KubernetesClient, path: str) -> tuple[int, str]:
    answer = await client.fetch(f"{NAMESPACE}/{path}", {}, timeout=5, max_bytes=1024)
    return answer.status, answer.body.decode()


async def test_a_pod_answers(cluster: tuple[KubernetesAPI, KubernetesClient]) -> None:
    """With its own status, body and query, over http and on any port."""
    api, client = cluster

    async def echo(request: web.Request) -> web.Response:
        return web.Response(status=418, text=f"{request.path_qs} {request.headers['Accept']}")

    async with serving(echo) as url:
        api.apply(PODS, {"metadata": {"name": "a"}, "status": {"podIP": "127.0.0.1"}})
        port = url.rpartition(":")[2]
        for target in (f"a:{port}", f"http:a:{port}"):
            path = f"{NAMESPACE}/{target}/proxy/x/y"
            answer = await client.fetch(path, {"q": "1"}, timeout=5, max_bytes=1024)
            assert (answer.status, answer.body) == (418, b"/x/y?q=1 application/json")


async def test_a_pod_that_does_not(cluster: tuple[KubernetesAPI, KubernetesClient]) -> None:
    """It does not exist, has no address, has a bad name, or refuses."""
    api, client = cluster
    api.apply(PODS, {"metadata": {"name": "a"}, "status": {"podIP": "127.0.0.1"}})
    api.apply(PODS, {"metadata": {"name": "new"}, "status": {}})
    for target, code, message in (
        ("b:80", 404, 'pods \\"b\\" not found'),
        ("new:80", 503, "address not allowed"),
        ("ftp:a:80", 400, 'invalid pod request \\"ftp:a:80\\"'),
        ("a:9", 503, "error trying to reach service: "),
        ("a", 503, "error trying to reach service: "),
    ):
        status, text = await _status(client, f"{target}/proxy/metrics")
        assert (status, message in text) == (code, True), text
