"""The guard before the API, over real TLS: nothing passes that was not decided on."""

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, TCPConnector
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from metrics_server.api.app import ApiServer, App
from metrics_server.api.discovery import build_discovery
from metrics_server.api.external_metrics import ExternalMetrics
from metrics_server.api.health import HealthCheck, HealthChecks
from metrics_server.api.openapi import build_openapi
from metrics_server.api.status import Status, StatusDetails
from metrics_server.api.types import GROUP, GROUP_VERSION
from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.delegation import DelegatedAuthentication
from metrics_server.auth.guard import Guard
from metrics_server.auth.identity import ANONYMOUS, User
from metrics_server.auth.request_header import Lines
from metrics_server.auth.request_info import Attributes, attributes_of
from metrics_server.errors import UnauthorizedError
from metrics_server.http.listener import listening
from metrics_server.kube.pods import Pod
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Collection, PodSample
from metrics_server.measuring.windows import Windows
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import MetricRule, Rules
from metrics_server.simulator.faults import Fault, FaultKind
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.reviews import Reviews
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.context import ListeningContext
from metrics_server.tls.peer import PeerCertificates
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected
from tests.support.reviews import access_of, caller_of

METRIC = f"/apis/{GROUP_VERSION}/namespaces/default/gpu_utilization"
ALICE = User("alice", groups=("dev", "system:authenticated"))


@dataclass
class Measured:
    """A cluster in which every namespace has a pod, and what was measured of it last."""

    namespace: str = ""
    metric: str = ""

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """The pod."""
        self.namespace = namespace
        return (Pod(namespace, "a", {}, "gpu-0", "Running", ready=True, terminating=False, gpus=1),)

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """A sample of each pod that is no longer fresh at the next request."""
        self.metric = rule.name
        return Collection(
            selected=len(pods), samples=tuple(PodSample(pod.name, (50,), 0) for pod in pods)
        )


@dataclass
class Callers:
    """Returns the configured user, and records what it was called with."""

    user: User | None = ALICE
    peers: list[PeerCertificates | None] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)

    def trust(self, delegated: DelegatedAuthentication) -> None:
        """Nothing depends on it."""

    def identity(self, _headers: Iterable[tuple[str, str]]) -> Lines:
        """Nobody is named in headers."""
        return ()

    def is_named(self, _identity: Lines, _by: PeerCertificates, _seconds: float) -> bool:
        """So every request is decided on by itself."""
        return False

    async def authenticate(
        self, peer: PeerCertificates | None, headers: Iterable[tuple[str, str]], address: str = ""
    ) -> User:
        """The user, where there is one."""
        assert address == "127.0.0.1"
        self.peers.append(peer)
        self.headers = [*headers]
        if self.user is None:
            raise UnauthorizedError
        return self.user


class Answer(msgspec.Struct):
    """What the server answered."""

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
        url: where it serves.
        api: the Kubernetes API that it asks.
        reviews: what decides there.
        callers: who asks.
        measured: what was asked for last.
        trust: how a client without a certificate connects.
        certified: how a client with one does.
        certificate: that certificate, DER.
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
        """A client that asks everything on one connection."""
        connector = TCPConnector(ssl=context or self.trust, limit=1)
        async with ClientSession(connector=connector) as session:
            yield Client(session, self.url)

    async def ask(self, target: str, method: str = "GET") -> Answer:
        """The answer to one request on a connection of its own."""
        async with self.connected() as client:
            return await client.ask(target, method)


@dataclass
class Client:
    """Asks a server."""

    session: ClientSession
    url: str

    async def ask(
        self, target: str, method: str = "GET", headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        """The answer to a request whose target is sent as it is."""
        url = URL(self.url + target, encoded=True)
        async with self.session.request(
            method, url, headers=[*headers], allow_redirects=False
        ) as response:
            return Answer(response.status, await response.read())


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A pair for both ends that is its own authority: a PEM file, and the certificate as DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = tmp_path_factory.mktemp("pair") / "pair.pem"
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path, certificate.public_bytes(serialization.Encoding.DER)


def app_before(guard: Guard, measured: Measured, monitor: Monitor) -> App:
    """The whole API, with a guard before it."""
    rules = Rules(CATALOGUE)
    provider = MetricsProvider(
        rules=rules,
        pods=measured,
        measure="ready",
        source=measured,
        min_coverage=0.5,
        windows=Windows(period=1),
        fallback=FallbackChain(
            ["error"],
            last_known_max_age=0,
            simulated=Simulated(),
        ),
        monitor=monitor,
    )
    api = ExternalMetrics(provider, rules, monitor)
    return App(
        admit=guard,
        apis=[api],
        discovery=build_discovery([api.group]),
        openapi=build_openapi([api.group]),
        health=HealthChecks(ready=[HealthCheck("pods-synced", lambda: None)]),
        monitor=monitor,
    )


@pytest.fixture
async def server(
    monitor: Monitor, pair: tuple[Path, bytes], tmp_path: Path
) -> AsyncIterator[Server]:
    """A server that asks a Kubernetes API whether alice may, which at first says no."""
    path, certificate = pair
    context = ListeningContext(KeyPair(path.read_bytes(), path.read_bytes()))
    context.use_verifier(bool)
    certified = ssl.create_default_context(cafile=path)
    certified.load_cert_chain(path)
    reviews, callers, measured = Reviews({}), Callers(), Measured()
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubernetesAPI())
        api.aggregate("authorization.k8s.io", "v1", reviews.subject_access_review)
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", api.url)
        client = await stack.enter_async_context(connected(kubeconfig))
        guard = Guard(callers, Authorizer(client, timeout=0.2), monitor)
        served = ApiServer(app_before(guard, measured, monitor))
        host, port = await stack.enter_async_context(listening(served, "127.0.0.1", 0, context))
        yield Server(
            url=f"https://{host}:{port}",
            api=api,
            reviews=reviews,
            callers=callers,
            measured=measured,
            trust=ssl.create_default_context(cafile=path),
            certified=certified,
            certificate=certificate,
        )


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
# Beyond those: what is not served, or not in that way.
ASKED = [
    *((path, "GET") for path in (*SERVED, "/", "/nowhere", f"{METRIC}x")),
    *((path, "POST") for path in (METRIC, "/metrics")),
]


@pytest.mark.parametrize("path", SERVED)
async def test_who_may_is_answered(server: Server, path: str) -> None:
    """Every path is served to users whom the API allows, and each review is about that path."""
    asked = attributes_of("GET", path, "")
    allowed = caller_of(ALICE), access_of(asked)
    server.reviews.decide = lambda user, attributes: {"allowed": (user, attributes) == allowed}
    assert (await server.ask(path)).status == 200
    assert len(server.reviews.access_reviews) == 1


@pytest.mark.parametrize(("path", "method"), ASKED)
async def test_who_may_not_is_refused(server: Server, path: str, method: str) -> None:
    """A 403 worded as the API does, which does not reveal whether the path exists."""
    answer = await server.ask(path, method)
    status = answer.error()
    assert (status.code, status.reason) == (403, "Forbidden")
    asked = attributes_of(method, path, "")
    assert status.details == StatusDetails(group=asked.group, kind=asked.resource)
    assert 'forbidden: User "alice" cannot ' in status.message


@pytest.mark.parametrize(("path", "method"), [*ASKED, *((path, "GET") for path in PROBES)])
async def test_who_is_unknown_is_asked_to_say(server: Server, path: str, method: str) -> None:
    """Credentials that are not good are a 401 everywhere, and nobody reviews for them."""
    server.callers.user = None
    server.reviews.decide = lambda _user, _attributes: {"allowed": True}
    status = (await server.ask(path, method)).error()
    assert (status.code, status.reason, status.message) == (401, "Unauthorized", "Unauthorized")
    assert not server.reviews.access_reviews


@pytest.mark.parametrize("fault", ["error", "garbage", "hang"])
@pytest.mark.parametrize("path", [METRIC, "/metrics", "/apis", "/nowhere"])
async def test_a_review_that_fails_lets_nobody_in(
    server: Server, fault: FaultKind, path: str
) -> None:
    """It is a 500 with a Status, each time; when reviews work again, so does the answer."""
    server.reviews.set_fault(Fault(fault))
    for _ in range(2):
        status = (await server.ask(path)).error()
        assert (status.code, status.reason) == (500, "InternalError")
        assert "did not decide whether this is allowed" in status.message
    server.reviews.set_fault(None)
    assert (await server.ask(path)).status == 403
    assert server.measured == Measured()


async def test_no_kubernetes_api_lets_nobody_in(server: Server) -> None:
    """But probes are answered, or the kubelet would restart the server for another's outage."""
    await server.api.__aexit__()
    assert (await server.ask(METRIC)).error().code == 500
    server.callers.user = ANONYMOUS
    for path in PROBES:
        for spelled in (path, f"{path}/"):
            assert await server.ask(spelled) == Answer(200, b"ok")


async def test_a_certificate_is_shown_once_a_connection(server: Server) -> None:
    """Each request is authenticated by the peer's own certificate."""
    async with server.connected(server.certified) as client:
        for _ in range(3):
            await client.ask("/healthz")
    assert server.callers.peers == [PeerCertificates((server.certificate,))] * 3
    first, *rest = server.callers.peers
    assert all(peer is first for peer in rest)


async def test_a_certificate_is_that_of_its_connection(server: Server) -> None:
    """What one connection has shown counts on no other, also while both are open."""
    async with server.connected(server.certified) as certified, server.connected() as plain:
        for client in (certified, plain, certified, plain):
            await client.ask("/healthz")
    async with server.connected() as after:
        await after.ask("/healthz")
    shown = PeerCertificates((server.certificate,))
    assert server.callers.peers == [shown, None, shown, None, None]


async def test_all_header_lines_are_passed_on(server: Server) -> None:
    """In their order, and a header that is there twice as two: groups come so."""
    lines = [("X-Remote-Group", "b"), ("X-Remote-User", "u"), ("X-Remote-Group", "a, c")]
    async with server.connected() as client:
        await client.ask("/healthz", headers=lines)
    told = [line for line in server.callers.headers if line[0].startswith("X-Remote-")]
    assert told == lines


async def test_a_path_that_is_not_utf8_is_malformed(server: Server) -> None:
    """It is refused before anybody is asked about something else."""
    status = (await server.ask(f"/apis/{GROUP_VERSION}/namespaces/default/%FF")).error()
    assert (status.code, status.reason) == (400, "BadRequest")
    assert not server.reviews.access_reviews


async def test_decisions_are_counted(server: Server) -> None:
    """/metrics counts the requests that were allowed, denied and undecided."""
    await server.ask(METRIC)
    server.reviews.set_fault(Fault("error"))
    await server.ask("/apis")
    await server.ask("/apis")
    server.reviews.set_fault(None)
    server.reviews.decide = lambda _user, _attributes: {"allowed": True}
    lines = (await server.ask("/metrics")).body.decode().splitlines()
    for decision, count in (("allowed", 1.0), ("denied", 1.0), ("error", 2.0)):
        assert f'gpu_metrics_server_authorizations_total{{decision="{decision}"}} {count}' in lines


def spellings(path: str) -> Iterator[str]:
    """What might be taken for a path, and is or is not."""
    for index, letter in enumerate(path):
        # Without its first slash it is not a target.
        if index:
            yield path[:index] + f"%{ord(letter):02X}" + path[index + 1 :]
        yield path[:index] + letter.swapcase() + path[index + 1 :]
        if letter == "/":
            for between in ("/", "./", "../", "%2F", "%2E%2E/", "a/../"):
                yield path[: index + 1] + between + path[index + 1 :]
    for end in ("/", "//", "/.", "/..", "/./", "%2F", "%00", "%20", ";a", "/%2E", "\\", "?", "%3F"):
        yield path + end
    yield path.upper()
    yield path.title()


@pytest.mark.slow
async def test_what_is_served_is_what_was_authorized(server: Server) -> None:
    """However a path is spelled, it is either the same for both or not served at all."""
    server.reviews.decide = lambda _user, _attributes: {"allowed": True}
    reviewed: set[Attributes] = set()
    async with server.connected() as client:
        # The answers of these two differ from time to time.
        canonical = [path for path in (*SERVED, *PROBES) if path not in (METRIC, "/metrics")]
        known = {(await client.ask(path)).body: path for path in canonical[:-3]}
        for path in [*canonical, METRIC]:
            for spelled in spellings(path):
                server.measured.namespace = server.measured.metric = ""
                answer = await client.ask(spelled)
                if answer.status != 200:
                    continue
                asked = attributes_of("GET", spelled.partition("?")[0], "")
                reviewed.add(asked)
                if server.measured.metric:
                    assert asked == Attributes(
                        "list",
                        server.measured.namespace,
                        GROUP,
                        "v1beta1",
                        server.measured.metric,
                    )
                elif answer.body != b"ok":
                    assert asked == Attributes("get", path=known[answer.body])
                else:
                    assert asked == Attributes("get", path=path)
    # Each was served under some other spelling, too.
    assert {one.path for one in reviewed if one.path} == set(canonical)
