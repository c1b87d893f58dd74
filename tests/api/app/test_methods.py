"""Paths and methods that are not served, and requests as Kubernetes sends them."""

import pytest
from aiohttp import hdrs

from metrics_server.api.types import GROUP, GROUP_VERSION
from tests.support.app import METRIC
from tests.support.clients import Client


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v1",
        "//apis",
        "/apis//",
        "/APIs",
        "/apis/apps/v1",
        f"/apis/{GROUP}/v1beta2",
        f"/apis/{GROUP_VERSION}/gpu_utilization/x",
        f"/apis/{GROUP_VERSION}/namespaces",
        f"/apis/{GROUP_VERSION}/namespaces/default",
        f"{METRIC}/x",
        f"{METRIC}//",
        "/openapi/v3/apis/apps/v1",
        "/metrics/x",
        "/favicon.ico",
        "/apis%2F",
        "/apis/%FF",
        "/%00",
        "/../apis",
    ],
)
async def test_a_path_that_is_none(client: Client, path: str) -> None:
    """An unknown path is 404 with a Status that names it, never a redirect."""
    status = (await client.ask(path)).error()
    assert (status.code, status.reason) == (404, "NotFound")
    assert "GET /apis lists what is" in status.message


@pytest.mark.parametrize("metric", ["gpu_utilization", "no_such_metric", "a%0Ab"])
@pytest.mark.parametrize(
    "path",
    [
        "{metric}",
        "{metric}/",
        "namespaces//{metric}",
        "namespaces/*/{metric}",
        "namespaces/%2A/{metric}",
    ],
)
async def test_all_namespaces_at_once(client: Client, path: str, metric: str) -> None:
    """`kubectl get -A` (never sent by an HPA) is 400: a request must name one namespace."""
    asked = f"/apis/{GROUP_VERSION}/{path.format(metric=metric)}"
    status = (await client.ask(f"{asked}?labelSelector=app%3Dinference")).error()
    assert (status.code, status.reason) == (400, "BadRequest")
    assert status.message.startswith("a namespace is required: ")
    assert "kubectl get -n NAMESPACE instead of -A" in status.message
    shown = metric.replace("%0A", "\\n")
    assert f"/apis/{GROUP_VERSION}/namespaces/NAMESPACE/{shown}, " in status.message


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/apis", f"/apis/{GROUP_VERSION}/", METRIC, "/healthz"])
async def test_only_get_is_allowed(client: Client, method: str, path: str) -> None:
    """Nothing can be written; the answer says what is allowed instead."""
    answer = await client.ask(path, method=method)
    status = answer.error()
    assert (status.code, status.reason) == (405, "MethodNotAllowed")
    assert status.message == f"{method} is not allowed: only GET is"
    assert answer.headers[hdrs.ALLOW] == "GET"


async def test_head_is_not_allowed(client: Client) -> None:
    """HEAD gets no body, whatever the status."""
    answer = await client.ask("/apis", method="HEAD")
    assert (answer.status, answer.body) == (405, b"")
