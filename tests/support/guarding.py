"""A guarded server that records its callers and measurements."""

import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from aiohttp import ClientSession, TCPConnector
from yarl import URL

from metrics_server.api.status import Status
from metrics_server.api.types import GROUP, GROUP_VERSION
from metrics_server.auth.delegation import DelegatedAuthentication
from metrics_server.auth.identity import User
from metrics_server.auth.request_header import Lines
from metrics_server.errors import UnauthorizedError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, PodSample
from metrics_server.rules.model import MetricRule
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.reviews import Reviews
from metrics_server.tls.peer import PeerCertificates

METRIC = f"/apis/{GROUP_VERSION}/namespaces/default/gpu_utilization"
ALICE = User("alice", groups=("dev", "system:authenticated"))


@dataclass
class Measured:
    """A cluster with a pod in every namespace, which records the last measurement."""

    namespace: str = ""
    metric: str = ""

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """The namespace's pod."""
        self.namespace = namespace
        return (Pod(namespace, "a", {}, "gpu-0", "Running", ready=True, terminating=False, gpus=1),)

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """A sample of each pod that is already stale at the next request."""
        self.metric = rule.name
        return Collection(
            selected=len(pods), samples=tuple(PodSample(pod.name, (50,), 0) for pod in pods)
        )


@dataclass
class Callers:
    """Returns the configured user, and records the calls."""

    user: User | None = ALICE
    peers: list[PeerCertificates | None] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)

    def trust(self, delegated: DelegatedAuthentication) -> None:
        """Do nothing: the user is fixed."""

    def identity(self, _headers: Iterable[tuple[str, str]]) -> Lines:
        """Headers never name a user."""
        return ()

    def is_named(self, _identity: Lines, _by: PeerCertificates, _seconds: float) -> bool:
        """Never, so every request is decided separately."""
        return False

    async def authenticate(
        self, peer: PeerCertificates | None, headers: Iterable[tuple[str, str]], address: str = ""
    ) -> User:
        """The user, if there is one."""
        assert address == "127.0.0.1"
        self.peers.append(peer)
        self.headers = [*headers]
        if self.user is None:
            raise UnauthorizedError
        return self.user


class Answer(msgspec.Struct):
    """The server's answer."""

    status: int
    body: bytes

    def error(self) -> Status:
        """The Status of an error."""
        status = msgspec.json.decode(self.body, type=Status)
        assert (status.kind, status.status, status.code) == ("Status", "Failure", self.status)
        return status


@dataclass
class Server:
    """A server behind a guard.

    Attributes:
        url: the server's URL.
        api: the Kubernetes API that it uses.
        reviews: makes the decisions there.
        callers: identifies the callers.
        measured: the last measurement.
        trust: the TLS context of a client without a certificate.
        certified: that of a client with one.
        certificate: the client's certificate, DER.
    """

    url: str
    api: KubernetesAPI
    reviews: Reviews
    callers: Callers
    measured: Measured
    trust: ssl.SSLContext
    certified: ssl.SSLContext
    certificate: bytes

    @asynccontextmanager
    async def connected(self, context: ssl.SSLContext | None = None) -> AsyncIterator["Client"]:
        """A client that sends everything on one connection."""
        connector = TCPConnector(ssl=context or self.trust, limit=1)
        async with ClientSession(connector=connector) as session:
            yield Client(session, self.url)

    async def ask(self, target: str, method: str = "GET") -> Answer:
        """The answer to one request on its own connection."""
        async with self.connected() as client:
            return await client.ask(target, method)


@dataclass
class Client:
    """Sends requests to a server."""

    session: ClientSession
    url: str

    async def ask(
        self, target: str, method: str = "GET", headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        """The answer to a request whose target is sent unchanged."""
        url = URL(self.url + target, encoded=True)
        async with self.session.request(
            method, url, headers=[*headers], allow_redirects=False
        ) as response:
            return Answer(response.status, await response.read())


SERVED = (
    METRIC,
    "/apis",
    f"/apis/{GROUP}",
    f"/apis/{GROUP_VERSION}",
    "/openapi/v2",
    "/openapi/v3",
    f"/openapi/v3/apis/{GROUP_VERSION}",
    "/version",
    "/healthz/ping",
    "/readyz/pods-synced",
    "/metrics",
)
PROBES = ("/healthz", "/livez", "/readyz")
