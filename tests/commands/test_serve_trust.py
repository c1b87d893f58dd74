"""`serve` as a process: its trust, and its certificates."""

import asyncio
import base64
from pathlib import Path

import pytest

from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import API_SERVICES, SECRETS, Object
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import client_context
from tests.support.clients import Client as FrontProxyClient
from tests.support.commands import kubeconfig
from tests.support.processes import METRIC, Client, logged, started
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


async def test_the_flags_of_trust_have_their_effect(
    api: KubernetesAPI, cluster: Cluster, tmp_path: Path
) -> None:
    """The certificate folder, the front proxies' authorities and names, and open paths."""
    reviews = SimulatedTrust(api).reviews
    reviews.decide = lambda _user, attributes: {"allowed": bool(attributes.resource)}
    serving, proxies, clients = (Authority(name) for name in ("serving", "proxies", "clients"))
    pair = serving.issue(["127.0.0.1"])
    (tmp_path / "tls.crt").write_bytes(pair.certificate)
    (tmp_path / "tls.key").write_bytes(pair.key)
    (tmp_path / "proxies.crt").write_bytes(proxies.bundle)
    (tmp_path / "clients.crt").write_bytes(clients.bundle)
    line = (
        *(
            "--kubeconfig",
            str(kubeconfig(tmp_path, api.url)),
            "--secure-port",
            "0",
        ),
        *("--cert-dir", str(tmp_path), "--client-ca-file", str(tmp_path / "clients.crt")),
        *("--requestheader-client-ca-file", str(tmp_path / "proxies.crt")),
        *("--requestheader-allowed-names", "one,two"),
        *("--authorization-always-allow-paths", "/readyz,/metrics"),
    )
    async with started("serve", *line) as process:
        told = await logged(process, "] serving kubernetes=")
        url = told.rsplit("url=", 1)[1].split()[0]
        trust = await asyncio.to_thread(client_context, serving.bundle)
        anonymous = Client(url, trust=trust, known=False)
        await anonymous.until("/readyz", 200)
        assert "gpu_metrics_server_build_info" in await anonymous.until("/metrics", 200)
        await anonymous.until("/healthz", 403)
        for name, status in (("two", 200), ("three", 401)):
            async with FrontProxyClient(url, serving.bundle, proxies.issue_client(name)) as asked:
                assert (await asked.ask(METRIC, {"X-Remote-User": "robot"})).status == status
    assert not any("configmaps" in url.path for url in api.requests)
    assert cluster.ready_pods == 2


async def test_self_managed_certificates(
    api: KubernetesAPI, cluster: Cluster, tmp_path: Path
) -> None:
    """The pair is in the Secret, and the APIService's bundle verifies the server."""
    service: Object = {"namespace": "gpu-monitoring", "name": "gpu-metrics-server"}
    api.apply(
        API_SERVICES,
        {
            "kind": "APIService",
            "apiVersion": "apiregistration.k8s.io/v1",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {"service": service},
        },
    )

    async def published() -> bytes:
        stored = api.store.get(API_SERVICES, "", "v1beta1.external.metrics.k8s.io") or {}
        spec = stored["spec"]
        assert isinstance(spec, dict)
        return base64.b64decode(str(spec.get("caBundle", "")))

    line = (
        "--kubeconfig",
        str(kubeconfig(tmp_path, api.url)),
        "--secure-port",
        "0",
    )
    async with started("serve", "--self-managed-certs", *line) as process:
        told = await logged(process, "] serving kubernetes=")
        port = told.rsplit(":", 1)[1].split()[0]
        await Client(f"https://127.0.0.1:{port}", trust=False).until("/readyz", 200)
        bundle = await eventually(published, bool)
        trust = await asyncio.to_thread(client_context, bundle)
        _, writer = await asyncio.open_connection(
            "127.0.0.1",
            int(port),
            ssl=trust,
            server_hostname="gpu-metrics-server.gpu-monitoring.svc",
        )
        writer.close()
        await writer.wait_closed()
    assert api.store.get(SECRETS, "gpu-monitoring", "gpu-metrics-server-certificates") is not None
    assert cluster.ready_pods == 2
