"""A whole server in a simulated cluster: real sockets, real TLS, and nothing in it replaced.

    async with cluster({"gpu-0": page({("default", "a"): [40, 60]})}, [pod("a")]) as simulated:
        answer = await simulated.client.metric("default", "gpu_utilization", "app=inference")
        assert answer.item().value == "50"

What a server is asked over HTTP goes through a `Client`, which verifies its certificate, follows no
redirect and sends no header that it was not given. That of a cluster is an administrator; another
identity is a `client_of` with another certificate. Whatever takes time is waited for by
`eventually`.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import ClientSession, TCPConnector, hdrs, web
from msgspec import Struct, structs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from metrics_server.api.status import Status
from metrics_server.api.types import GROUP_VERSION, ExternalMetricValue, ExternalMetricValueList
from metrics_server.auth.identity import MASTERS
from metrics_server.config.options import ServeOptions
from metrics_server.config.sections import Config
from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS, Object
from metrics_server.simulator.kube.reviews import Caller
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.certificates import client_context, context_from_pair
from metrics_server.wiring.server import RunningServer, running

T = TypeVar("T")
Headers = Mapping[str, str] | Sequence[tuple[str, str]]

# Far longer than anything here takes, so that a test that fails does not hang.
_PATIENCE_SECONDS = 15


async def eventually(
    ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], patience: float = _PATIENCE_SECONDS
) -> T:
    """Ask again and again until the answer is as it should be, and return it.

    Args:
        ask: what to ask.
        holds: whether the answer is as it should be.
        patience: after how many seconds the test fails.
    """
    answer: T | None = None
    try:
        async with asyncio.timeout(patience):
            while True:
                answer = await ask()
                if holds(answer):
                    return answer
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"it did not come about; the last answer was {answer}") from None


def configuration(sections: Mapping[str, object] | None = None) -> Config:
    """A configuration of these sections, as in a file; without a fallback, unless they have one."""
    return Config.model_validate({"fallback": {"chain": ["error"]}, **(sections or {})})


def pod(
    name: str,
    *,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    node: str = "gpu-0",
    gpus: int = 1,
    resource: str = "nvidia.com/gpu",
    phase: str = "Running",
    ready: bool = True,
    deleted: bool = False,
) -> Object:
    """A core/v1 Pod; its labels are `app: inference` where none are given."""
    metadata: Object = {
        "name": name,
        "namespace": namespace,
        "labels": {**(labels if labels is not None else {"app": "inference"})},
    }
    if deleted:
        metadata["deletionTimestamp"] = "2026-11-24T08:32:41Z"
    limits: Object = {resource: str(gpus)} if gpus else {"cpu": "1"}
    return {
        "metadata": metadata,
        "spec": {
            "nodeName": node,
            "containers": [{"name": "server", "resources": {"limits": limits}}],
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def page(
    gpus: Mapping[tuple[str, str], Sequence[float]], family: str = "DCGM_FI_DEV_GPU_UTIL"
) -> str:
    """The page of an exporter: by (namespace, name) of a pod, a value for each of its GPUs."""
    rows = [(namespace, name, v) for (namespace, name), vs in gpus.items() for v in vs]
    return f"# TYPE {family} gauge\n" + "".join(
        f'{family}{{gpu="{i}",UUID="GPU-{i}",namespace="{namespace}",pod="{name}"}} {value}\n'
        for i, (namespace, name, value) in enumerate(rows)
    )


class Answer(Struct, frozen=True):
    """What a server answered."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> dict[str, object]:
        """The body, which must be a JSON object."""
        return msgspec.json.decode(self.body, type=dict[str, object])

    def error(self) -> Status:
        """The Status of an error, in the form that every error must have."""
        assert self.headers[hdrs.CONTENT_TYPE] == "application/json"
        # On a Retry-After the HPA's client sleeps and asks again, holding one of its workers.
        assert hdrs.RETRY_AFTER not in self.headers
        status = msgspec.json.decode(self.body, type=Status)
        assert (status.kind, status.api_version, status.status) == ("Status", "v1", "Failure")
        assert status.code == self.status
        assert status.message
        assert "Traceback" not in self.text
        return status

    def item(self) -> ExternalMetricValue:
        """The one item of a metric's answer: the HPA adds up all that there are."""
        assert self.status == web.HTTPOk.status_code, self.text
        assert self.headers[hdrs.CONTENT_TYPE] == "application/json"
        values = msgspec.json.decode(self.body, type=ExternalMetricValueList)
        assert (values.kind, values.api_version) == ("ExternalMetricValueList", GROUP_VERSION)
        (item,) = values.items
        return item


class Client:
    """Asks a server over TLS; an asynchronous context manager.

    Args:
        url: where it serves.
        bundle: the authority that its certificate is verified by, PEM.
        pair: the client's own certificate, and its key; None where it has none.
    """

    def __init__(self, url: str, bundle: bytes, pair: KeyPair | None = None) -> None:
        self.url = URL(url)
        self._bundle = bundle
        self._pair = pair

    async def __aenter__(self) -> Self:
        self._context = await asyncio.to_thread(client_context, self._bundle, self._pair)
        self._session = ClientSession(
            connector=TCPConnector(ssl=self._context, force_close=True),
            skip_auto_headers=(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, target: str, headers: Headers = (), method: str = hdrs.METH_GET) -> Answer:
        """The answer to a request.

        Args:
            target: the path and the query, sent as they are.
            headers: all there are, but for Host; a name may be there more than once.
            method: HTTP's.
        """
        url = URL(f"{self.url.origin()}{target}", encoded=True)
        async with self._session.request(
            method, url, headers=CIMultiDict(headers), allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def metric(self, namespace: str, metric: str, selector: str = "") -> Answer:
        """The answer to the question that the HPA controller asks."""
        target = f"/apis/{GROUP_VERSION}/namespaces/{quote(namespace)}/{quote(metric)}"
        query = f"?{urlencode({'labelSelector': selector})}" if selector else ""
        return await self.ask(
            target + query, {hdrs.ACCEPT: "application/vnd.kubernetes.protobuf, */*"}
        )

    async def send(self, data: bytes) -> bytes:
        """All that comes back on a connection on which just these bytes are sent."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(
                self.url.host, self.url.port, ssl=self._context
            )
            try:
                writer.write(data)
                return await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()


class PageExporter:
    """An exporter that serves a page as it is; an asynchronous context manager.

    Attributes:
        page: what it serves.
        status: the HTTP status that it serves it with.
        scrapes: how many times it was asked.
        may_answer: while it is not set, no answer comes.
    """

    def __init__(self, text: str) -> None:
        self.page = text
        self.status = 200
        self.scrapes = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self.port}/metrics"

    async def _answer(self, _: web.Request) -> web.Response:
        self.scrapes += 1
        await self.may_answer.wait()
        return web.Response(text=self.page, status=self.status)


@dataclass(frozen=True)
class Cluster:
    """What `cluster` gives.

    Attributes:
        api: the Kubernetes API; what is put into it, the server sees.
        authority: by which the Kubernetes API is verified.
        trust: whom the cluster trusts.
        options: the server's flags.
        exporters: by node.
        server: the server.
        client: asks it.
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
        """The file that leads to the Kubernetes API."""
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
    """A server that knows all that there is in its cluster, for as long as the context.

    Args:
        pages: by node, what its exporter serves; an EndpointSlice leads to each.
        pods: those that there are at first.
        config: of the server; `configuration()` if None.
        exporters: the values of --exporter.
        tokens: whom each bearer token stands for.
        forbidden: parts of paths of the Kubernetes API that the server may not use.
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
            await asyncio.wait_for(synced.wait(), _PATIENCE_SECONDS)
        client = await stack.enter_async_context(client_of(server, admin(trust)))
        yield Cluster(api, authority, trust, options, served, server, client)


@asynccontextmanager
async def serve_options(api: KubernetesAPI, authority: Authority) -> AsyncIterator[ServeOptions]:
    """Flags that lead to a Kubernetes API, for as long as the context."""
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder, "kubeconfig")
        write_kubeconfig(kubeconfig, api.url, authority.bundle)
        yield ServeOptions(kubeconfig=kubeconfig, secure_port=0)


@asynccontextmanager
async def kubernetes_api(port: int = 0) -> AsyncIterator[tuple[KubernetesAPI, Authority]]:
    """A Kubernetes API that serves TLS, and the authority to verify it by."""
    authority = Authority("kubernetes")
    context = await asyncio.to_thread(context_from_pair, authority.issue(["127.0.0.1"]))
    async with KubernetesAPI(port=port, ssl_context=context) as api:
        yield api, authority


def client_of(server: RunningServer, pair: KeyPair | None = None) -> Client:
    """A client of a server that has made its own certificate."""
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
        path: of the file.
        url: of the Kubernetes API.
        bundle: the authorities that it is verified by, PEM; not needed over plain HTTP.
        user: the user's credentials; a token if there is nothing else.
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
