"""The whole server: how it becomes ready, follows the cluster, falls back, and stops."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.config.options import ServeOptions
from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.wiring.server import running
from tests.support.harness import (
    Answer,
    Client,
    Cluster,
    PageExporter,
    admin,
    client_of,
    cluster,
    configuration,
    eventually,
    kubernetes_api,
    page,
    pod,
    write_kubeconfig,
)

UTILIZATION = {("default", "a"): [10], ("default", "b"): [30], ("other", "a"): [90]}


async def ask(simulated: Cluster, namespace: str = "default") -> Answer:
    """The answer for the pods with app=inference."""
    return await simulated.client.metric(namespace, "gpu_utilization", "app=inference")


def has_value(value: str, pods: int) -> Callable[[Answer], bool]:
    """A check that the answer is this one, measured on so many pods."""

    def check(answer: Answer) -> bool:
        if answer.status != 200:
            return False
        item = answer.item()
        return (item.value, item.metric_labels.get("pods")) == (value, f"{pods}/{pods}")

    return check


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    """A kubeconfig for an API of an empty cluster."""
    path = tmp_path / "kubeconfig"
    async with KubernetesAPI() as api:
        SimulatedTrust(api)
        write_kubeconfig(path, api.url, b"")
        yield path


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            403,
            (
                'pods is forbidden: User "system:serviceaccount:gpu-monitoring:gpu-metrics-server" '
                'cannot list resource "pods" in API group "" at the cluster scope'
            ),
        ),
        (500, "etcdserver: request timed out"),
    ],
)
async def test_readiness_waits_for_the_first_list(tmp_path: Path, code: int, message: str) -> None:
    """While the API refuses, /readyz says so in its words; once it lists, the server is ready."""
    path, authority = tmp_path / "kubeconfig", tmp_path / "authority.crt"
    authority.write_bytes(Authority("any").bundle)
    # Whom to trust is read from the API before anything else, unless it is given.
    options = ServeOptions(
        kubeconfig=path,
        secure_port=0,
        client_ca_file=authority,
        requestheader_client_ca_file=authority,
    )
    async with AsyncExitStack() as apis:
        refusing = await apis.enter_async_context(KubernetesAPI())
        refusing.faults.refuse_next(code, message, times=1000)
        port = int(refusing.url.rpartition(":")[2])
        write_kubeconfig(path, refusing.url, b"")
        async with running(options, configuration()) as server, client_of(server) as client:
            refused = await eventually(
                lambda: client.ask("/readyz"), lambda answer: answer.text.count(message) == 2
            )
            assert refused.status == 500
            assert f"[-]pods-synced failed: {message}\n" in refused.text
            assert f"[-]endpointslices-synced failed: {message}\n" in refused.text
            # A restart would mend nothing.
            assert (await client.ask("/livez")).text == "ok"
            await apis.aclose()
            await apis.enter_async_context(KubernetesAPI(port=port))
            ready = await eventually(
                lambda: client.ask("/readyz"), lambda answer: answer.status == 200
            )
            assert ready.text == "ok"


async def test_the_cluster_is_followed() -> None:
    """A pod that comes, changes or goes in the Kubernetes API changes the next answer."""
    # What was scraped serves for long: it is the pods alone that change.
    config = configuration({"exporters": {"maxAge": "10m"}})
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("a")], config) as simulated:
        assert has_value("10", 1)(await ask(simulated))
        simulated.api.apply(PODS, pod("b"))
        await eventually(lambda: ask(simulated), has_value("20", 2))
        simulated.api.apply(PODS, pod("a", labels={"app": "training"}))
        await eventually(lambda: ask(simulated), has_value("30", 1))
        simulated.api.apply(PODS, pod("a"))
        simulated.api.apply(PODS, pod("b", ready=False))
        await eventually(lambda: ask(simulated), has_value("10", 1))
        simulated.api.apply(PODS, pod("b"))
        # A terminating pod counts for as long as it is Ready, as it does for the HPA.
        simulated.api.apply(PODS, pod("a", deleted=True))
        await eventually(lambda: ask(simulated), has_value("20", 2))
        simulated.api.apply(PODS, pod("a", deleted=True, ready=False))
        await eventually(lambda: ask(simulated), has_value("30", 1))
        for name in ("a", "b"):
            simulated.api.delete(PODS, "default", name)
        gone = await eventually(lambda: ask(simulated), lambda answer: answer.status == 404)
        assert gone.error().message.startswith("no pods in namespace")


async def test_a_watch_that_breaks_is_taken_up_again() -> None:
    """What happened while no watch was open is known afterwards; the server stays ready."""
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("a")]) as simulated:
        simulated.api.faults.drop_watches()
        simulated.api.apply(PODS, pod("b"))
        await eventually(lambda: ask(simulated), has_value("20", 2))
        assert (await simulated.client.ask("/readyz")).text == "ok"


async def test_exporters_are_found_by_their_endpoint_slices() -> None:
    """An exporter is used from when its Service's EndpointSlice names it until it does no more."""
    config = configuration({"exporters": {"maxAge": "20ms"}})
    async with (
        PageExporter(page(UTILIZATION)) as exporter,
        PageExporter(page({("default", "a"): [99]})) as foreign,
        cluster({}, [pod("a")], config) as simulated,
    ):
        assert "no exporter is ready on node gpu-0" in (await ask(simulated)).error().message
        of_another_service = manifests.endpoint_slice("gpu-0", foreign.port)
        of_another_service["metadata"] = {
            "name": "web-1",
            "namespace": "web",
            "labels": {"kubernetes.io/service-name": manifests.EXPORTER_SERVICE},
        }
        simulated.api.apply(ENDPOINT_SLICES, of_another_service)
        made = simulated.api.apply(
            ENDPOINT_SLICES, manifests.endpoint_slice("gpu-0", exporter.port)
        )
        await eventually(lambda: ask(simulated), has_value("10", 1))
        assert foreign.scrapes == 0
        name = msgspec.convert(made["metadata"], dict[str, object])["name"]
        simulated.api.delete(ENDPOINT_SLICES, manifests.EXPORTER_NAMESPACE, str(name))
        # What was measured holds until it is too old.
        await eventually(lambda: ask(simulated), lambda answer: answer.status == 503)


@pytest.mark.parametrize("by_flag", [True, False])
async def test_exporters_can_be_listed(*, by_flag: bool) -> None:
    """With --exporter, or exporters.urls, nothing is discovered: all of them serve any node."""
    async with (
        PageExporter(page({("default", "a"): [10]})) as one,
        PageExporter(page({("default", "b"): [30]})) as other,
    ):
        urls = [one.url, other.url]
        config = configuration({} if by_flag else {"exporters": {"urls": urls}})
        pods = [pod("a", node="gpu-7"), pod("b", node="gpu-8")]
        async with cluster({}, pods, config, urls if by_flag else ()) as simulated:
            assert has_value("20", 2)(await ask(simulated))
            assert "endpointslices" not in simulated.server.synced
            asked = {url.path for url in simulated.api.requests}
            assert "/api/v1/pods" in asked
            assert not [path for path in asked if "endpointslices" in path]


async def test_only_the_configured_namespaces_are_watched() -> None:
    """With pods.namespaces a Role in these suffices, and others are refused with a sentence."""
    config = configuration({"pods": {"namespaces": ["other", "more"]}})
    pods = [pod("a"), pod("a", namespace="other")]
    async with cluster({"gpu-0": page(UTILIZATION)}, pods, config) as simulated:
        assert has_value("90", 1)(await ask(simulated, "other"))
        refused = (await ask(simulated, "default")).error()
        assert (refused.code, refused.reason) == (404, "NotFound")
        assert refused.message == (
            'namespace "default" is not watched: it is not in the setting pods.namespaces '
            "of gpu-metrics-server"
        )
        paths = {url.path for url in simulated.api.requests if url.path.endswith("/pods")}
        assert paths == {"/api/v1/namespaces/other/pods", "/api/v1/namespaces/more/pods"}


@pytest.mark.slow
async def test_the_fallback_chain_from_outside() -> None:
    """When exporters fail, the last value is told, then a simulated one, until they are back."""
    config = configuration(
        {
            "exporters": {"maxAge": "20ms"},
            "fallback": {"chain": ["last-known", "simulated"], "lastKnownMaxAge": "2s"},
        }
    )
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("a"), pod("b")], config) as simulated:
        exporter = simulated.exporters["gpu-0"]

        async def source() -> str:
            return (await ask(simulated)).item().metric_labels["source"]

        real = (await ask(simulated)).item()
        assert real.metric_labels == {"source": "exporters", "pods": "2/2"}
        exporter.status = 500
        with capture_logs() as logs:
            await eventually(source, lambda told: told == "last-known")
            known = (await ask(simulated)).item()
            assert (known.value, known.timestamp) == (real.value, real.timestamp)
            assert known.metric_labels == {"source": "last-known", "pods": "2/2"}
            await eventually(source, lambda told: told == "simulated")
            made_up = (await ask(simulated)).item()
        assert 60 <= int(made_up.value) <= 90
        # No pod was measured, so none is claimed.
        assert made_up.metric_labels == {"source": "simulated"}
        warnings = [log for log in logs if log["event"] == "Failed to get real metrics"]
        assert warnings[0]["answered"] == "last-known"
        assert f"exporter {exporter.url} answered HTTP 500" in warnings[0]["error"]
        # Only a percentage can be made up.
        power = await simulated.client.metric("default", "gpu_power_usage", "app=inference")
        assert power.error().code == 503
        exporter.status = 200
        exporter.page = page({("default", "a"): [40], ("default", "b"): [60]})
        await eventually(lambda: ask(simulated), has_value("50", 2))


async def test_no_fallback_for_what_is_no_missing_measurement() -> None:
    """Pods that are not there, or a metric that is not, are an error whatever the chain."""
    config = configuration({"fallback": {"chain": ["simulated"]}})
    async with cluster({}, [pod("a")], config) as simulated:
        assert (await ask(simulated)).item().metric_labels == {"source": "simulated"}
        assert (await ask(simulated, "elsewhere")).error().code == 404
        unknown = await simulated.client.metric("default", "cpu", "app=inference")
        assert unknown.error().code == 404


async def test_a_step_at_the_exporter_is_seen_in_time() -> None:
    """No question asked more than maxAge after a step is answered by what was before it."""
    max_age = 0.3
    config = configuration({"exporters": {"maxAge": "300ms"}})
    clock = asyncio.get_running_loop().time
    async with cluster({"gpu-0": page({("default", "a"): [0]})}, [pod("a")], config) as simulated:
        assert has_value("0", 1)(await ask(simulated))
        simulated.exporters["gpu-0"].page = page({("default", "a"): [100]})
        step = last_asked = clock()

        async def timed() -> Answer:
            nonlocal last_asked
            asked = clock()
            answer = await ask(simulated)
            if has_value("0", 1)(answer):
                last_asked = asked
            return answer

        await eventually(timed, has_value("100", 1))
        # Timers of the event loop are as exact as the machine lets them be.
        assert last_asked - step <= max_age + 0.1
        # Questions within maxAge cost no scrape of their own.
        assert simulated.exporters["gpu-0"].scrapes == 2


async def test_questions_at_once_share_a_scrape() -> None:
    """However many HPAs ask at one time, an exporter is asked once."""
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("a"), pod("b")]) as simulated:
        metrics = ["gpu_utilization"] * 20 + ["gpu_temperature"] * 5
        answers = await asyncio.gather(
            *(simulated.client.metric("default", name) for name in metrics)
        )
        assert [answer.status for answer in answers] == [200] * 20 + [503] * 5
        assert simulated.exporters["gpu-0"].scrapes == 1


async def test_its_own_certificate_is_good_for_this_machine(kubeconfig: Path) -> None:
    """Without certificate files it makes a certificate that verifies by either local name."""
    options = ServeOptions(kubeconfig=kubeconfig, secure_port=0)
    async with running(options, configuration()) as server:
        assert server.bundle is not None
        port = server.url.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost"):
            async with Client(f"https://{host}:{port}", server.bundle) as client:
                assert (await client.ask("/livez")).text == "ok"
        async with Client(server.url, Authority("another").bundle) as client:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await client.ask("/livez")


def write_pair(folder: Path, authority: Authority) -> tuple[Path, Path]:
    """A serving certificate and its key, as files."""
    pair = authority.issue(["gpu-metrics-server.gpu-monitoring.svc", "127.0.0.1"])
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return certificate, key


async def test_a_certificate_from_files(kubeconfig: Path, tmp_path: Path) -> None:
    """With certificate files, these are served; the server knows no authority for them."""
    authority = Authority("from-disk")
    certificate, key = write_pair(tmp_path, authority)
    options = ServeOptions(
        kubeconfig=kubeconfig, secure_port=0, tls_cert_file=certificate, tls_private_key_file=key
    )
    async with running(options, configuration()) as server:
        assert server.bundle is None
        async with Client(server.url, authority.bundle) as client:
            assert (await client.ask("/livez")).text == "ok"


async def test_each_check_of_the_certificate_has_its_own_path(
    kubeconfig: Path, tmp_path: Path
) -> None:
    """What is about to expire is told by /readyz/certificate, while the files are followed."""
    authority = Authority("from-disk")
    begun = datetime.now(UTC) - timedelta(days=9.5)
    pair = authority.issue(["127.0.0.1"], timedelta(days=10), now=begun)
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    options = ServeOptions(
        kubeconfig=kubeconfig, secure_port=0, tls_cert_file=certificate, tls_private_key_file=key
    )
    async with (
        running(options, configuration()) as server,
        Client(server.url, authority.bundle, None) as client,
    ):
        answer = await client.ask("/readyz")
        assert "[-]certificate failed: the serving certificate expires at" in answer.text
        assert "[+]follow-certificate ok" in answer.text


async def refusal(options: ServeOptions) -> str:
    """The sentence with which a server does not start."""
    with pytest.raises(ConfigurationError) as raised:
        async with running(options, configuration()):
            pass
    return str(raised.value)


async def test_settings_that_cannot_be_used(kubeconfig: Path, tmp_path: Path) -> None:
    """Each is refused at the start, by a sentence that names the flag."""
    certificate, key = write_pair(tmp_path, Authority("from-disk"))
    alone = ServeOptions(kubeconfig=kubeconfig, secure_port=0, tls_cert_file=certificate)
    assert await refusal(alone) == "--tls-cert-file and --tls-private-key-file must be set together"
    both = structs.replace(alone, tls_private_key_file=key, self_managed_certs=True)
    assert "mutually exclusive" in await refusal(both)
    twice = structs.replace(alone, cert_dir=tmp_path)
    assert "--cert-dir" in await refusal(twice)
    key.unlink()
    absent = ServeOptions(
        kubeconfig=kubeconfig, secure_port=0, tls_cert_file=certificate, tls_private_key_file=key
    )
    assert str(key) in await refusal(absent)
    nowhere = ServeOptions(kubeconfig=tmp_path / "nowhere", secure_port=0)
    assert await refusal(nowhere) == f"the kubeconfig {tmp_path / 'nowhere'} does not exist"


async def test_exporters_that_contradict_the_flags(kubeconfig: Path) -> None:
    """What only the flags make wrong is refused before anything is asked of anybody."""
    plain = ServeOptions(
        kubeconfig=kubeconfig, secure_port=0, exporters=("https://a/", "HTTP://b:9400/metrics")
    )
    auth = configuration({"exporters": {"scheme": "https", "auth": {"bearerTokenFile": "/token"}}})
    with pytest.raises(ConfigurationError) as raised:
        async with running(plain, auth):
            pass
    assert str(raised.value) == (
        "exporters: auth would be sent in the clear, because of --exporter HTTP://b:9400/metrics"
    )
    nothing = configuration({"exporters": {"services": []}})
    with pytest.raises(ConfigurationError, match=r"^exporters\.services: is empty, and neither"):
        async with running(ServeOptions(kubeconfig=kubeconfig, secure_port=0), nothing):
            pass
    async with running(plain, nothing):
        pass


async def test_a_port_that_is_taken(kubeconfig: Path) -> None:
    """The sentence says which port, and that it is in use."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = await refusal(ServeOptions(kubeconfig=kubeconfig, secure_port=port))
    assert message.startswith(f"--bind-address 127.0.0.1 --secure-port {port}: cannot listen: ")
    assert "address already in use" in message.lower()


async def test_the_cluster_must_tell_whom_to_trust(tmp_path: Path) -> None:
    """Without it nobody could be authenticated: the start is refused, and says what is missing."""
    path = tmp_path / "kubeconfig"
    options = ServeOptions(kubeconfig=path, secure_port=0)
    write_kubeconfig(path, "http://127.0.0.1:1", b"")
    with pytest.raises(KubernetesError, match=r"^the Kubernetes API at \S+ cannot be reached: "):
        async with running(options, configuration()):
            pass
    async with KubernetesAPI() as api:
        write_kubeconfig(path, api.url, b"")
        message = await refusal(options)
    assert message.startswith(
        "the ConfigMap kube-system/extension-apiserver-authentication does not exist"
    )


class Line(msgspec.Struct):
    """A line of the log."""

    event: str
    url: str = ""


class Process:
    """A `gpu-metrics-server serve` of its own.

    Attributes:
        lines: what it has logged.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[Line] = []

    async def until(self, event: str) -> Line:
        """The line of this event, once it is logged."""
        assert self.process.stderr is not None
        async with asyncio.timeout(15):
            while text := await self.process.stderr.readline():
                # One object a line: a traceback would not parse.
                self.lines.append(msgspec.json.decode(text, type=Line))
                if self.lines[-1].event == event:
                    return self.lines[-1]
        raise AssertionError(f"it ended after {self.lines}")


@asynccontextmanager
async def process(*arguments: str | Path) -> AsyncIterator[Process]:
    """A server in a process of its own, which is gone afterwards."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "metrics_server", "serve", "--secure-port", "0", "--log-format", "json"),
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(started)
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def is_refused(client: Client) -> bool:
    """Whether nobody listens any more."""
    try:
        await client.ask("/livez")
    except aiohttp.ClientConnectionError:
        return True
    return False


@pytest.mark.slow
async def test_a_graceful_stop(tmp_path: Path) -> None:
    """On SIGTERM readiness fails first, then no connection is taken, then what runs is finished."""
    authority = Authority("from-disk")
    certificate, key = write_pair(tmp_path, authority)
    config = tmp_path / "config.yaml"
    config.write_text("exporters: {timeout: 10s}\nfallback: {chain: [error]}\n")
    async with (
        kubernetes_api() as (api, kubernetes_authority),
        PageExporter(page(UTILIZATION)) as exporter,
    ):
        api.apply(PODS, pod("a"))
        trust = SimulatedTrust(api)
        write_kubeconfig(tmp_path / "kubeconfig", api.url, kubernetes_authority.bundle)
        async with process(
            *("--kubeconfig", tmp_path / "kubeconfig", "--config", config),
            *("--tls-cert-file", certificate, "--tls-private-key-file", key),
            *("--exporter", exporter.url, "--shutdown-delay-duration", "1s"),
        ) as server:
            url = (await server.until("serving")).url
            async with Client(url, authority.bundle, admin(trust)) as client:
                await eventually(lambda: client.ask("/readyz"), lambda ready: ready.status == 200)
                exporter.may_answer.clear()
                asking = asyncio.create_task(client.metric("default", "gpu_utilization"))
                await eventually(lambda: asyncio.sleep(0), lambda _: exporter.scrapes == 1)

                server.process.terminate()
                stopping = await eventually(
                    lambda: client.ask("/readyz"), lambda ready: ready.status == 500
                )
                assert "[-]shutdown failed: " in stopping.text
                # Who has not heard of it yet is still served.
                assert (await client.ask("/livez")).text == "ok"
                assert (await client.ask("/apis")).status == 200

                await eventually(lambda: is_refused(client), bool)
                assert not asking.done()
                exporter.may_answer.set()
                assert (await asking).item().value == "10"
            await server.until("stopped")
            assert await asyncio.wait_for(server.process.wait(), 15) == 0
