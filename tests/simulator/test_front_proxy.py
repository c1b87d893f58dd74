"""The demo's aggregator, between a client and the test's own API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from yarl import URL

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.front_proxy import FrontProxy
from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.certificates import context_from_pair

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
PREFIX = f"/apis/{GROUP}/{VERSION}"


class Upstream:
    """An API server with configured answers, which records its requests."""

    def __init__(self) -> None:
        self.asked: list[web.BaseRequest] = []
        self.answer = web.Response()

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """The answer."""
        self.asked.append(request)
        return self.answer


@pytest.fixture
def upstream() -> Upstream:
    """The API server behind the proxy."""
    return Upstream()


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority for the API server's certificate."""
    return Authority("gpu-metrics-server")


@asynccontextmanager
async def proxied(url: str, bundle: bytes) -> AsyncIterator[str]:
    """A Kubernetes API that forwards the group to a URL."""
    async with KubernetesAPI() as api, FrontProxy(url, bundle) as proxy:
        api.aggregate(GROUP, VERSION, proxy)
        yield api.url


@asynccontextmanager
async def serving(upstream: Upstream, pair: KeyPair) -> AsyncIterator[str]:
    """The URL of the API server, over TLS, with this pair."""
    running = RawTestServer(upstream)
    await running.start_server(ssl=await asyncio.to_thread(context_from_pair, pair))
    yield f"https://127.0.0.1:{running.port}"
    await running.close()


@pytest.fixture
async def server(upstream: Upstream, authority: Authority) -> AsyncIterator[str]:
    """The URL of the API server, with a valid certificate."""
    async with serving(upstream, authority.issue(["127.0.0.1"])) as found:
        yield found


@pytest.fixture
async def url(server: str, authority: Authority) -> AsyncIterator[str]:
    """The proxy's URL, over plain HTTP."""
    async with proxied(server, authority.bundle) as found:
        yield found


async def get(url: str, **headers: str) -> tuple[int, str | None, bytes]:
    """The status, content type and body of the response to a GET of the exact URL."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(URL(url, encoded=True), headers=headers, allow_redirects=False) as response,
    ):
        return response.status, response.headers.get("Content-Type"), await response.read()


@pytest.mark.parametrize("status", [200, 302, 400, 403, 404, 406, 500, 503])
@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"]
)
async def test_status_type_and_body_pass(
    url: str, upstream: Upstream, status: int, content_type: str
) -> None:
    """The API server's response is passed on, whatever its status."""
    body = b'{"kind":"Status"}\n\xff'
    headers = {"Content-Type": content_type, "Location": "/elsewhere"}
    upstream.answer = web.Response(status=status, body=body, headers=headers)
    assert await get(f"{url}{PREFIX}") == (status, content_type, body)
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/namespaces/default/gpu_utilization?labelSelector=app%3Dinference",
        "/namespaces/default/gpu_utilization?labelSelector=app+in+%28a%2Cb%29",
        "/namespaces/default/gpu_utilization?labelSelector=app%20in%20(a,b)",
        "/namespaces/a%2Fb/%C3%A9?x=%26&x=%3d&y",
    ],
)
async def test_path_and_query_pass_as_they_were_sent(
    url: str, upstream: Upstream, path: str
) -> None:
    """Nothing is decoded, as this could change the meaning of a path or query."""
    await get(f"{url}{PREFIX}{path}")
    assert [request.raw_path for request in upstream.asked] == [f"{PREFIX}{path}"]


async def test_accept_and_user_are_forwarded(url: str, upstream: Upstream) -> None:
    """The client's Accept is passed on; the proxy sets the user, whatever the client sent."""
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    await get(f"{url}{PREFIX}", **{"Accept": accept, "X-Remote-User": "system:admin"})
    (request,) = upstream.asked
    assert request.headers.getall("Accept") == [accept]
    assert request.headers.getall("X-Remote-User") == ["demo"]
    assert request.headers.getall("X-Remote-Group") == ["system:authenticated"]


async def test_a_compressed_answer_stays_so(url: str, upstream: Upstream) -> None:
    """It is passed on with its Content-Encoding."""
    upstream.answer = web.Response(text="a" * 1000)
    upstream.answer.enable_compression(web.ContentCoding.gzip)
    status, _, body = await get(f"{url}{PREFIX}", **{"Accept-Encoding": "gzip"})
    assert (status, body) == (200, b"a" * 1000)
    assert upstream.asked[0].headers["Accept-Encoding"] == "gzip"


async def test_the_certificate_is_verified(server: str, upstream: Upstream) -> None:
    """An API server with a certificate from another authority gets no request."""
    async with proxied(server, Authority("another").bundle) as url:
        status, _, body = await get(f"{url}{PREFIX}")
    assert status == 503
    assert body.startswith(b"error trying to reach service: ")
    assert b"certificate verify failed" in body
    assert not upstream.asked


async def test_the_name_is_verified(upstream: Upstream, authority: Authority) -> None:
    """A certificate for another name is rejected."""
    async with (
        serving(upstream, authority.issue(["example.test"])) as server,
        proxied(server, authority.bundle) as url,
    ):
        status, _, body = await get(f"{url}{PREFIX}")
    assert (status, upstream.asked) == (503, [])
    assert b"certificate verify failed" in body


async def test_an_api_server_that_is_gone(authority: Authority) -> None:
    """If nothing listens, the proxy answers 503 and says why."""
    async with proxied("https://127.0.0.1:1", authority.bundle) as url:
        status, content_type, body = await get(f"{url}{PREFIX}")
    assert (status, content_type) == (503, "text/plain; charset=utf-8")
    assert body.startswith(b"error trying to reach service: dial tcp 127.0.0.1:")
    assert body.endswith(b": connect: connection refused")
