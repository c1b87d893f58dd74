"""Requests as Kubernetes sends them, and an unexpected exception."""

import msgspec
import pytest
from aiohttp import hdrs
from msgspec import Struct
from structlog.testing import capture_logs

from tests.support.app import METRIC, V2
from tests.support.clients import Client
from tests.support.data import RECORDINGS
from tests.support.harness import Cluster, admin, client_of, cluster
from tests.support.objects import pod

RECORDED = RECORDINGS / "aggregator.jsonl"


class Request(Struct):
    """A recorded request from kube-apiserver to a server behind its aggregator."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]

    @property
    def target(self) -> str:
        """The path and the query."""
        return f"{self.path}?{self.query}" if self.query else self.path


REQUESTS = [msgspec.json.decode(line, type=Request) for line in RECORDED.read_bytes().splitlines()]


async def test_what_kubernetes_was_seen_to_ask(simulated: Cluster) -> None:
    """Each recorded request gets what its sender can use and the aggregator passes on."""
    proxy, other = simulated.trust.front_proxy(), admin(simulated.trust)
    for request in REQUESTS:
        pair = proxy if "X-Remote-User" in dict(request.headers) else other
        async with client_of(simulated.server, pair) as sender:
            answer = await sender.ask(request.target, request.headers, request.method)
        if request.path.endswith("/nope/x") or request.query == "labelSelector=app%3Dx":
            # Such a path or pod does not exist.
            assert answer.error().code == 404, request
            continue
        assert answer.status == 200, request
        assert answer.body
        accept = dict(request.headers).get(hdrs.ACCEPT, "")
        wanted = {
            V2: V2,
            "application/json;as=Table;v=v1;g=meta.k8s.io": (
                "application/json;g=meta.k8s.io;v=v1;as=Table"
            ),
        }
        health = "text/plain; charset=utf-8" if request.path == "/healthz" else "application/json"
        expected = wanted.get(accept.partition(",")[0], health)
        assert answer.headers[hdrs.CONTENT_TYPE] == expected, request
        if "labelSelector" in request.query:
            assert answer.item().value == "84", request


async def test_an_unexpected_exception_is_a_500(
    simulated: Cluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller learns nothing about it; it is logged, and the server keeps running."""

    def fail(*_: object) -> None:
        raise RuntimeError("a secret of the server")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr("metrics_server.measuring.provider.select", fail)
        status = (await client.ask(METRIC)).error()

    assert (status.code, status.reason) == (500, "InternalError")
    assert status.message == "internal error of gpu-metrics-server: see its log"
    (line,) = [one for one in logs if one["event"] == "internal error"]
    assert line["log_level"] == "error"
    assert (await client.ask(METRIC)).status == 200
    metrics = (await client.ask("/metrics")).text
    assert (
        'request_duration_seconds_count{api="external",code="500",metric="gpu_utilization"} 1.0'
        in metrics
    )
    assert simulated.exporters["gpu-0"].scrapes == 1


async def test_a_shared_gpu_is_marked_on_the_wire() -> None:
    """Pods that were not selected share the GPU, so their work is in the value."""
    row = 'DCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="GPU-0",namespace="default",pod="{}"}} 84\n'
    shared = "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n" + row.format("a") + row.format("other")
    pods = [pod("a"), pod("other", labels={"app": "other"})]
    async with cluster({"gpu-0": shared}, pods) as made:
        answer = await made.client.metric("default", "gpu_utilization", "app=inference")
    assert answer.item().metric_labels["shared"] == "true"
