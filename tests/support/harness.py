"""A whole server in a simulated cluster: real sockets, real TLS, and nothing replaced.

    async with cluster({"gpu-0": page({("default", "a"): [40, 60]})}, [pod("a")]) as simulated:
        answer = await simulated.client.metric("default", "gpu_utilization", "app=inference")
        assert answer.item().value == "50"

Requests to the server go through a `Client`, which verifies its certificate, follows no
redirects and adds no headers. The cluster's own client is an administrator; for another
identity, use `client_of` with another certificate. Use `eventually` for anything that
takes time.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from metrics_server.auth.identity import MASTERS
from metrics_server.config.sections import Config
from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS, Object
from metrics_server.simulator.kube.reviews import Caller
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.certificates import context_from_pair
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.server import RunningServer, running
from tests.support.clients import Client
from tests.support.exporters import PageExporter
from tests.support.waiting import PATIENCE_SECONDS


def configuration(sections: Mapping[str, object] | None = None) -> Config:
    """A configuration with these sections, as in a file; without a fallback by default."""
    return Config.model_validate({"fallback": {"chain": ["error"]}, **(sections or {})})


@dataclass(frozen=True)
class Cluster:
    """A simulated cluster, with its server.

    Attributes:
        api: the Kubernetes API; the server sees whatever is stored in it.
        authority: verifies the Kubernetes API.
        trust: the certificates that the cluster trusts.
        options: the server's flags.
        exporters: by node.
        server: the server.
        client: sends requests to it, as an administrator.
    """

    api: KubernetesAPI
    authority: Authority
    trust: SimulatedTrust
    options: ServeOptions
    exporters: Mapping[str, PageExporter]
    server: RunningServer
    client: Client

    @property
    def kubeconfig(self) -> Path:
        """The file for connecting to the Kubernetes API."""
        assert self.options.kubeconfig is not None
        return self.options.kubeconfig


@asynccontextmanager
async def cluster(
    pages: Mapping[str, str],
    pods: Iterable[Object] = (),
    config: Config | None = None,
    exporters: Sequence[str] = (),
    tokens: Mapping[str, Caller] | None = None,
    *,
    forbidden: Sequence[str] = (),
) -> AsyncIterator[Cluster]:
    """A server that has read its whole cluster, for as long as the context.

    Args:
        pages: each exporter's page, by node; each has an EndpointSlice.
        pods: the initial pods.
        config: the server's configuration; `configuration()` if None.
        exporters: the values of --exporter.
        tokens: the user of each bearer token.
        forbidden: parts of Kubernetes API paths that the server may not use.
    """
    async with AsyncExitStack() as stack:
        api, authority = await stack.enter_async_context(kubernetes_api())
        for path in forbidden:
            api.faults.forbid(path)
        trust = SimulatedTrust(api, tokens)
        for obj in pods:
            api.apply(PODS, obj)
        served = {
            node: await stack.enter_async_context(PageExporter(text))
            for node, text in pages.items()
        }
        for node, exporter in served.items():
            api.apply(ENDPOINT_SLICES, manifests.endpoint_slice(node, exporter.port))
        options = await stack.enter_async_context(serve_options(api, authority))
        options = structs.replace(options, exporters=tuple(exporters))
        server = await stack.enter_async_context(running(options, config or configuration()))
        for synced in server.synced.values():
            await asyncio.wait_for(synced.wait(), PATIENCE_SECONDS)
        client = await stack.enter_async_context(client_of(server, admin(trust)))
        yield Cluster(api, authority, trust, options, served, server, client)


@asynccontextmanager
async def serve_options(api: KubernetesAPI, authority: Authority) -> AsyncIterator[ServeOptions]:
    """Flags for connecting to a Kubernetes API, for as long as the context."""
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder, "kubeconfig")
        write_kubeconfig(kubeconfig, api.url, authority.bundle)
        yield ServeOptions(kubeconfig=kubeconfig, secure_port=0)


@asynccontextmanager
async def kubernetes_api(port: int = 0) -> AsyncIterator[tuple[KubernetesAPI, Authority]]:
    """A Kubernetes API over TLS, and the authority to verify it with."""
    authority = Authority("kubernetes")
    context = await asyncio.to_thread(context_from_pair, authority.issue(["127.0.0.1"]))
    async with KubernetesAPI(port=port, ssl_context=context) as api:
        yield api, authority


def client_of(server: RunningServer, pair: KeyPair | None = None) -> Client:
    """A client of a server that made its own certificate."""
    assert server.bundle is not None
    return Client(server.url, server.bundle, pair)


def admin(trust: SimulatedTrust) -> KeyPair:
    """The certificate of a user who may do everything."""
    return trust.clients.issue_client("admin", [MASTERS])


def write_kubeconfig(
    path: Path, url: str, bundle: bytes = b"", *, user: Mapping[str, object] | None = None
) -> Path:
    """Write a kubeconfig, and return its path.

    Args:
        path: the file's path.
        url: the Kubernetes API's URL.
        bundle: the authorities to verify it with, PEM; not needed over plain HTTP.
        user: the user's credentials; a token by default.
    """
    cluster = {"server": url}
    if bundle:
        authority = path.with_suffix(".crt")
        authority.write_bytes(bundle)
        cluster["certificate-authority"] = str(authority)
    # JSON is YAML, too.
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "test", "user": {"token": "test"} if user is None else user}],
            }
        )
    )
    return path
