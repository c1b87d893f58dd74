"""Finding exporters in the cluster: a whole server, and its requests to the API."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, NODES, Object
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from tests.support.clients import Answer
from tests.support.exporters import PageExporter, page
from tests.support.harness import Cluster, cluster, configuration
from tests.support.objects import pod
from tests.support.waiting import eventually

PAGE = page({("default", "a"): [40]})


async def ask(simulated: Cluster) -> Answer:
    """The mean of the pods."""
    return await simulated.client.metric("default", "gpu_utilization", "app=inference")


def paths(simulated: Cluster, resource: str) -> set[str]:
    """The requested paths for a resource."""
    return {one.path for one in simulated.api.requests if one.path.endswith(f"/{resource}")}


def by_hand(port: int, *endpoints: Object) -> Object:
    """A slice written by hand, for exporters on hosts."""
    made = manifests.endpoint_slice("by-hand", port)
    made["endpoints"] = list(endpoints)
    return made


async def test_with_namespaces_the_services_namespaces_are_listed() -> None:
    """Roles in the namespaces of the pods and of the exporters' Services are enough."""
    services = [
        {"namespace": "gpu-monitoring", "name": "dcgm-exporter"},
        {"namespace": "gpu-monitoring", "name": "other"},
        {"namespace": "elsewhere", "name": "dcgm-exporter"},
    ]
    config = configuration(
        {"pods": {"namespaces": ["default"]}, "exporters": {"services": services}}
    )
    async with (
        PageExporter(page({("default", "b"): [60]})) as elsewhere,
        cluster({"gpu-0": PAGE}, [pod("a"), pod("b", node="gpu-1")], config) as simulated,
    ):
        moved = manifests.endpoint_slice("gpu-1", elsewhere.port)
        moved["metadata"] = {
            "name": "s",
            "namespace": "elsewhere",
            "labels": {"kubernetes.io/service-name": "dcgm-exporter"},
        }
        simulated.api.apply(ENDPOINT_SLICES, moved)
        await eventually(lambda: ask(simulated), lambda answer: '"value":"50"' in answer.text)
        assert paths(simulated, "endpointslices") == {
            "/apis/discovery.k8s.io/v1/namespaces/gpu-monitoring/endpointslices",
            "/apis/discovery.k8s.io/v1/namespaces/elsewhere/endpointslices",
        }
        checks = (await simulated.client.ask("/readyz?verbose")).text
        assert "endpointslices-gpu-monitoring-synced" in checks
        assert "endpointslices-elsewhere-synced" in checks


async def test_an_endpoint_without_an_address_costs_nothing() -> None:
    """The endpoint affects neither other answers, nor the server's own metrics."""
    async with cluster({"gpu-0": PAGE}, [pod("a")]) as simulated:
        assert (await ask(simulated)).item().value == "40"
        simulated.api.apply(
            ENDPOINT_SLICES,
            by_hand(1, {"addresses": []}, {"addresses": None, "nodeName": "gpu-0"}),
        )
        simulated.api.apply(ENDPOINT_SLICES, manifests.endpoint_slice("marker", 1))

        async def known() -> Answer:
            return await simulated.client.ask("/metrics")

        answer = await eventually(known, lambda answer: 'kind="exporters"} 2.0' in answer.text)
        assert answer.status == 200
        assert (await ask(simulated)).item().value == "40"


async def test_a_slice_without_a_node_is_reported() -> None:
    """The message says which Service, and what to do; nodes are not requested."""
    async with (
        PageExporter(PAGE) as exporter,
        cluster({}, [pod("a")]) as simulated,
    ):
        simulated.api.apply(ENDPOINT_SLICES, by_hand(exporter.port, {"addresses": ["127.0.0.1"]}))
        answer = await eventually(lambda: ask(simulated), lambda one: "nodeName" in one.text)
        assert answer.error().message == (
            "0 of 1 pods have a measurement: no exporter is ready on node gpu-0 (an endpoint of "
            "Service gpu-monitoring/dcgm-exporter, 127.0.0.1, has no nodeName: set it in the "
            "EndpointSlice, or set exporters.matchNodesByAddress)"
        )
        assert paths(simulated, "nodes") == set()


async def test_a_slice_without_a_node_is_matched_by_address() -> None:
    """With exporters.matchNodesByAddress the node is the one with the endpoint's address."""
    config = configuration({"exporters": {"matchNodesByAddress": True}})
    async with (
        PageExporter(PAGE) as exporter,
        cluster({}, [pod("a")], config) as simulated,
    ):
        simulated.api.apply(ENDPOINT_SLICES, by_hand(exporter.port, {"addresses": ["127.0.0.1"]}))
        found = await eventually(lambda: ask(simulated), lambda one: "nodeName" in one.text)
        assert "and its address does not belong to exactly one node)" in found.error().message
        node = manifests.node("gpu-0", 4)
        node["status"] = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
        simulated.api.apply(NODES, node)
        await eventually(lambda: ask(simulated), lambda one: '"value":"40"' in one.text)
        assert "nodes-synced" in (await simulated.client.ask("/readyz?verbose")).text


@asynccontextmanager
async def guarded(shown: list[str | None], context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of an exporter behind TLS, which records the credentials it receives."""

    async def answer(request: web.BaseRequest) -> web.Response:
        shown.append(request.headers.get("Authorization"))
        assert request.path == "/gpu"
        return web.Response(text=page({("default", "a"): [40]}))

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def test_each_service_is_scraped_in_its_own_way(tmp_path: Path) -> None:
    """A token goes only to the exporters of its Service, over TLS."""
    authority = Authority("exporters")
    (tmp_path / "ca.crt").write_bytes(authority.bundle)
    (tmp_path / "token").write_text("s3cret")
    context = await asyncio.to_thread(context_from_pair, authority.issue(["127.0.0.1"]))
    own = {
        "namespace": "gpu-monitoring",
        "name": "guarded",
        "scheme": "https",
        "path": "/gpu",
        "tls": {"caFile": str(tmp_path / "ca.crt")},
        "auth": {"bearerTokenFile": str(tmp_path / "token")},
    }
    plain = {"namespace": "gpu-monitoring", "name": "dcgm-exporter"}
    config = configuration({"exporters": {"services": [plain, own]}})
    shown: list[str | None] = []
    pods = [pod("a", node="gpu-1"), pod("b")]
    async with (
        guarded(shown, context) as port,
        cluster({"gpu-0": page({("default", "b"): [60]})}, pods, config) as simulated,
    ):
        made = manifests.endpoint_slice("gpu-1", port)
        made["metadata"] = {
            "name": "guarded-1",
            "namespace": "gpu-monitoring",
            "labels": {"kubernetes.io/service-name": "guarded"},
        }
        simulated.api.apply(ENDPOINT_SLICES, made)
        await eventually(lambda: ask(simulated), lambda one: '"value":"50"' in one.text)
    assert set(shown) == {"Bearer s3cret"}
