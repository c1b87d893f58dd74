"""KEDA owns external.metrics.k8s.io; its server is played."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from metrics_server.simulator.kube.objects import Object
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from tests.cluster.cluster import API_SERVICE, CUSTOM_API_SERVICE, GROUP, Cluster
from tests.cluster.control_plane import add_address
from tests.cluster.test_custom_metrics import REPLICAS, reports, scale_by_pods
from tests.cluster.test_operators import encoded
from tests.cluster.test_stability import apply, deploy
from tests.cluster.test_uninstalling import everything, settled
from tests.deployments.manifests import DEPLOYMENTS
from tests.support.waiting import eventually

ADDRESS, PORT = "192.0.2.90", 6443
NAME = "keda-operator-metrics-apiserver"
SPEC = "-o=jsonpath={.spec}"


@asynccontextmanager
async def keda(cluster: Cluster, folder: Path) -> AsyncIterator[None]:
    """KEDA's metrics server, as a context: it is registered, and has no metrics."""
    authority = Authority("KEDA")
    await add_address(ADDRESS)

    async def discovery(_: web.Request) -> web.Response:
        document = {"kind": "APIResourceList", "apiVersion": "v1", "resources": []}
        return web.json_response({**document, "groupVersion": f"{GROUP}/v1beta1"})

    app = web.Application()
    app.router.add_get(f"/apis/{GROUP}/v1beta1", discovery)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = context_from_pair(authority.issue([f"{NAME}.keda.svc"]))
    try:
        await web.TCPSite(runner, ADDRESS, PORT, ssl_context=context).start()
        await cluster.kubectl("create", "namespace", "keda")
        for obj in _registration(authority.bundle):
            await apply(cluster, folder, obj)
        await cluster.becomes("True", "get", "apiservice", API_SERVICE)
        yield
    finally:
        await runner.cleanup()


def _registration(bundle: bytes) -> list[Object]:
    meta: Object = {"name": NAME, "namespace": "keda"}
    labels: Object = {"kubernetes.io/service-name": NAME}
    port: Object = {"name": "https", "port": PORT, "protocol": "TCP"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": labels},
            "addressType": "IPv4",
            "ports": [port],
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "group": GROUP,
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": NAME, "namespace": "keda"},
                "caBundle": encoded(bundle),
            },
        },
    ]


async def test_pods_metrics_scale_and_keda_keeps_its_own(cluster: Cluster, tmp_path: Path) -> None:
    """The overlay leaves KEDA's APIService alone, scales, and is deleted without a trace."""
    overlay = DEPLOYMENTS / "overlays" / "beside-keda"
    async with keda(cluster, tmp_path):
        before = await settled(cluster)
        theirs = await cluster.kubectl("get", "apiservice", API_SERVICE, SPEC)

        await cluster.install(overlay, [CUSTOM_API_SERVICE])
        await deploy(cluster, tmp_path, 2)
        await reports(cluster, "100", "100")
        await scale_by_pods(cluster, tmp_path)
        await cluster.becomes("<4>", "get", "deployment", "llm", REPLICAS)
        assert await cluster.kubectl("get", "apiservice", API_SERVICE, SPEC) == theirs
        assert "v1beta1.external" not in cluster.nodes.logs()

        await cluster.kubectl("delete", "hpa,deployment", "llm")
        await cluster.kubectl("delete", "-k", overlay)
        await eventually(lambda: everything(cluster), lambda now: now == before, 60)
        assert await cluster.kubectl("get", "apiservice", API_SERVICE, SPEC) == theirs
        assert json.loads(theirs)["service"]["namespace"] == "keda"
