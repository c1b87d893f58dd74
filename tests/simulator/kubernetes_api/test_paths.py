"""Paths of the simulated Kubernetes API, and groups that it aggregates."""

import msgspec
import pytest
from aiohttp import ClientSession, web

from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.api_answers import Recordings, get, recorded_status


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/v1/namespaces/default/pods/x", 'pods "x" not found'),
        (
            "/apis/apps/v1/namespaces/default/deployments/x",
            'deployments.apps "x" not found',
        ),
        ("/api/v1/nodes/x", 'nodes "x" not found'),
        ("/api/v1/namespaces/default/nodes", "the server could not find the requested resource"),
        ("/api/v1/pods/x", "the server could not find the requested resource"),
        ("/api/v1/endpoints", "the server could not find the requested resource"),
        ("/apis/example.com/v1", "the server could not find the requested resource"),
        ("/nowhere", "the server could not find the requested resource"),
        ("/", "the server could not find the requested resource"),
    ],
)
async def test_what_is_not_there_is_not_found(
    session: ClientSession, path: str, message: str
) -> None:
    """A missing object and a missing resource have different errors, in the API's words."""
    answer = await get(session, path)
    assert (answer.status, answer.body["message"]) == (404, message)
    assert (answer.body["kind"], answer.body["reason"]) == ("Status", "NotFound")


async def test_nothing_can_be_written(session: ClientSession) -> None:
    """Over HTTP, objects are read-only."""
    async with session.post("/api/v1/namespaces/default/pods", json={}) as response:
        assert response.status == 405
        assert (await response.json())["reason"] == "MethodNotAllowed"


async def test_health_and_version(session: ClientSession, recordings: Recordings) -> None:
    """The version has the fields that clients read, under their real names."""
    for path in ("/healthz", "/livez", "/readyz"):
        async with session.get(path) as response:
            assert await response.text() == "ok"
    version = (await get(session, "/version")).body
    assert version.items() >= {"major": "1", "minor": "36"}.items()
    assert version.keys() <= recorded_status(recordings, "version").keys()


async def test_faults_can_be_asked_for(api: KubernetesAPI, session: ClientSession) -> None:
    """The given number of requests fail, and then no more."""
    api.faults.refuse_next(500, "no", times=2)
    assert [(await get(session, "/version")).status for _ in range(3)] == [500, 500, 200]


async def test_a_group_can_be_served_by_another(api: KubernetesAPI, session: ClientSession) -> None:
    """Requests for an aggregated group reach its handler, and discovery lists it."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path, "method": request.method})

    api.aggregate("external.metrics.k8s.io", "v1beta1", handler)
    group = "/apis/external.metrics.k8s.io/v1beta1"
    for path in (group, f"{group}/namespaces/default/gpu_utilization"):
        assert (await get(session, path)).body == {"path": path, "method": "GET"}
    async with session.post(group) as response:
        assert (await response.json())["method"] == "POST"
    groups = msgspec.convert((await get(session, "/apis")).body["groups"], list[dict[str, object]])
    assert {
        "name": "external.metrics.k8s.io",
        "versions": [{"groupVersion": "external.metrics.k8s.io/v1beta1", "version": "v1beta1"}],
        "preferredVersion": {
            "groupVersion": "external.metrics.k8s.io/v1beta1",
            "version": "v1beta1",
        },
    } in groups


async def test_the_newest_version_of_a_group_is_preferred(
    api: KubernetesAPI, session: ClientSession
) -> None:
    """The HPA controller uses the preferred version of the custom metrics API."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    for version in ("v1beta1", "v1beta2"):
        api.aggregate("custom.metrics.k8s.io", version, handler)
    groups = msgspec.convert((await get(session, "/apis")).body["groups"], list[dict[str, object]])
    (custom,) = (group for group in groups if group["name"] == "custom.metrics.k8s.io")
    newest, older = (
        {"groupVersion": f"custom.metrics.k8s.io/{version}", "version": version}
        for version in ("v1beta2", "v1beta1")
    )
    assert (custom["preferredVersion"], custom["versions"]) == (newest, [newest, older])
