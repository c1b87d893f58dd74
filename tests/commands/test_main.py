"""The command line: every flag has its effect, and every mistake is a sentence."""

import asyncio
import base64
import json
import signal
import ssl
import sys
from argparse import _SubParsersAction
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import unused_port
from msgspec import Struct, structs

from metrics_server import __version__
from metrics_server.commands.main import build_parser, main
from metrics_server.config.options import ServeOptions
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.demo.options import DemoOptions
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import API_SERVICES, SECRETS, Object
from metrics_server.simulator.kube.reviews import Caller
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import client_context
from tests.support.harness import Client as FrontProxyClient
from tests.support.harness import eventually, write_kubeconfig

pytestmark = pytest.mark.slow

METRIC = (
    "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
    "?labelSelector=app%3Dinference"
)
COMMANDS: dict[str, type[Struct]] = {"serve": ServeOptions, "demo": DemoOptions}


def ended(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], status: int
) -> tuple[str, str]:
    """What a command prints, to the standard output and error; it must end with this status."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == status
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


def flags(command: str) -> dict[str, str]:
    """The flags of a command, by where each goes."""
    for action in build_parser()._actions:
        if isinstance(action, _SubParsersAction):
            actions = action.choices[command]._actions
            return {one.dest: one.option_strings[-1] for one in actions if one.dest != "help"}
    raise AssertionError


# These exclude each other, or others: tests of their own show their effect.
FLAGS_OF_TRUST = {
    "cert_dir",
    "self_managed_certs",
    "client_ca_file",
    "requestheader_client_ca_file",
    "requestheader_allowed_names",
    "requestheader_uid_headers",
    "always_allow_paths",
}
# More than a server has open that rests, and less than it has when it scrapes.
LOW_LIMIT = 50
FLAGS = {command: flags(command) for command in COMMANDS}


def kubeconfig(folder: Path, url: str) -> Path:
    """A kubeconfig of the API at a URL, in a folder."""
    return write_kubeconfig(folder / "kubeconfig", url)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(capsys: pytest.CaptureFixture[str], command: str | None) -> None:
    """--help names every command, and every flag of a command with a word about it."""
    out, _ = ended(capsys, [command, "--help"] if command else ["--help"], 0)
    assert out.startswith("usage: gpu-metrics-server")
    for name in FLAGS[command].values() if command else COMMANDS:
        assert name in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version is the version and nothing else."""
    assert ended(capsys, ["--version"], 0) == (f"{__version__}\n", "")


async def test_the_module_is_the_command() -> None:
    """`python -m metrics_server` is the same program, under the same name."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "metrics_server", "serve", "--no-such-flag"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"gpu-metrics-server: error: unrecognized arguments: --no-such-flag" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["server"], "invalid choice: 'server'"),
        (["serve", "--wrong"], "unrecognized arguments: --wrong"),
        (["serve", "--secure-port", "70000"], "70000 is not a whole number from 0 to 65535"),
        (["serve", "--secure-port", "-1"], "-1 is not a whole number"),
        (["serve", "--secure-port", "https"], "--secure-port: https is not a whole number"),
        (["serve", "--log-level", "loud"], "invalid choice: 'loud'"),
        (["serve", "--log-format", "xml"], "invalid choice: 'xml'"),
        (["serve", "--shutdown-delay-duration", "5"], "'5' is not a duration; write it as 2s"),
        (["serve", "--exporter", "10.0.0.7:9400"], "is not a URL such as http://"),
        (["serve", "--exporter", "http://me:secret@10.0.0.7/"], "would end up in logs"),
        (["serve", "--exporter", "http://10.0.0.7:99999/"], "is not a URL such as http://"),
        (["serve", "--exporter", "http://10.0.0.7/\r\nX: y"], "is not a URL such as http://"),
        (["serve", "--shutdown-delay-duration", "25h"], "must be at most 24h"),
        (["serve", "--authorization-always-allow-paths", "livez"], "livez does not begin with /"),
        (["serve", "--custom-metrics", "off"], "--custom-metrics: off is neither true nor false"),
        (["certs", "--out", "x", "--namespace", "A"], "'A' is not a DNS label"),
        (["demo", "--duration", "1 minute"], "'1 minute' is not a duration"),
        (["demo", "--nodes", "0"], "0 is not a whole number from 1 to 100"),
        (["demo", "--nodes", "101"], "101 is not a whole number from 1 to 100"),
        (["demo", "--port", "65536"], "65536 is not a whole number"),
        (["demo", "--fault", "fire"], "invalid choice: 'fire'"),
        (["demo", "--metric-type", "object"], "invalid choice: 'object'"),
    ],
)
def test_a_wrong_flag(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], sentence: str
) -> None:
    """The status is 2, and the last line of the standard error says what is wrong."""
    out, err = ended(capsys, arguments, 2)
    assert out == ""
    assert err.startswith("usage: gpu-metrics-server")
    assert sentence in err.splitlines()[-1]
    assert "secret" not in err


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (None, ["cannot be read", "No such file"]),
        ("exporters: [", ["is not YAML"]),
        ("- a list", ["the file: "]),
        (
            "exporters: {timeout: 5, maxAge: 0s}\nfallback: {minCoverage: 2}",
            ["exporters.timeout: ", "exporters.maxAge: ", "fallback.minCoverage: "],
        ),
        ("exporter: {}", ["exporter: "]),
    ],
    ids=["missing", "no YAML", "no mapping", "wrong values", "unknown key"],
)
def test_a_wrong_configuration_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | None, sentences: Sequence[str]
) -> None:
    """The status is 2; the file is named, and every setting that is wrong."""
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    out, err = ended(capsys, ["serve", "--config", str(path)], 2)
    assert out == ""
    assert err.startswith(f"gpu-metrics-server: {path}")
    for sentence in sentences:
        assert sentence in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kubeconfig", "/nowhere/kubeconfig"], "the kubeconfig /nowhere/kubeconfig does not"),
        (["--tls-cert-file", "/nowhere/tls.crt"], "must be set together"),
        (["--tls-private-key-file", "/nowhere/tls.key"], "must be set together"),
        (
            ["--tls-cert-file", "/nowhere/tls.crt", "--tls-private-key-file", "/nowhere/tls.key"],
            "/nowhere/tls.crt",
        ),
    ],
)
def test_a_file_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: Sequence[str], sentence: str
) -> None:
    """The status is 2, and the last line of the standard error names the file or the flag."""
    usable = str(kubeconfig(tmp_path, f"http://127.0.0.1:{unused_port()}"))
    _, err = ended(capsys, ["serve", "--kubeconfig", usable, *arguments], 2)
    line = err.splitlines()[-1]
    assert line.startswith("gpu-metrics-server: ")
    assert sentence in line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_a_flag(command: str) -> None:
    """Each field of a command's options can be set by a flag, and each flag sets one."""
    of_the_file = {"config", "external_metrics", "custom_metrics"} if command == "serve" else set()
    assert set(FLAGS[command]) == set(structs.asdict(COMMANDS[command]())) | of_the_file


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API on loopback, in plain HTTP."""
    async with KubernetesAPI() as running:
        SimulatedTrust(running, {"good": Caller("robot")})
        yield running


@pytest.fixture
async def cluster(api: KubernetesAPI) -> AsyncIterator[Cluster]:
    """A node with two ready pods, under a steady demand for one GPU and a half."""
    load = Load(base=150, amplitude=0, noise=0)
    async with Cluster(api, nodes=1, load=load, loading_seconds=0, deleting_seconds=0) as running:
        running.scale(2)
        yield running


@asynccontextmanager
async def started(
    *arguments: str, within: Sequence[str] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, in a process of its own, which is gone after the context.

    Args:
        arguments: its arguments.
        within: the command that becomes it.
    """
    process = await asyncio.create_subprocess_exec(
        *(*within, sys.executable, "-m", "metrics_server", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(20):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def logged(process: asyncio.subprocess.Process, event: str) -> str:
    """The line of the log that tells an event."""
    assert process.stderr is not None
    while event not in (line := (await process.stderr.readline()).decode()):
        assert line, f"it ended without telling {event!r}"
    return line


class Client:
    """Asks a server.

    Args:
        url: where it is.
        trust: what its certificate is verified by; False trusts any.
        known: whether it shows a token that is good.
    """

    def __init__(self, url: str, *, trust: ssl.SSLContext | bool, known: bool = True) -> None:
        self._url = url
        self._trust = trust
        self._is_known = known

    async def get(self, path: str) -> tuple[int, str] | None:
        """The status and the text of an answer; None where nobody listens."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(
                    self._url + path,
                    ssl=self._trust,
                    headers={"Authorization": "Bearer good"} if self._is_known else {},
                ) as response,
            ):
                return response.status, await response.text()
        except aiohttp.ClientConnectorCertificateError:
            raise
        except aiohttp.ClientConnectionError:
            return None

    async def until(self, path: str, status: int) -> str:
        """The text of the first answer with this status."""
        while True:
            found = await self.get(path)
            if found is not None and found[0] == status:
                return found[1]
            await asyncio.sleep(0.01)


def assert_measured(text: str) -> None:
    """The answer is the mean over the pods, as their exporter tells it."""
    (item,) = json.loads(text)["items"]
    assert item["value"] == "75"
    assert item["metricLabels"]["source"] == "exporters"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve(
    api: KubernetesAPI, cluster: Cluster, tmp_path: Path, number: signal.Signals
) -> None:
    """It becomes ready, answers over TLS by what it finds in the cluster, and stops when told."""
    config = kubeconfig(tmp_path, api.url)
    async with started("serve", "--kubeconfig", str(config), "--secure-port", "0") as process:
        line = await logged(process, "] serving kubernetes=")
        client = Client(line.rsplit("url=", 1)[1].split()[0], trust=False)
        assert "url=https://127.0.0.1:" in line
        assert f"kubernetes={api.url}" in line
        await client.until("/readyz", 200)
        assert_measured(await client.until(METRIC, 200))
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert b"] stopping " in err
    assert err.rstrip().endswith(b"] stopped")
    assert await client.get("/livez") is None
    assert cluster.ready_pods == 2


async def test_a_low_limit_of_open_files(
    api: KubernetesAPI, cluster: Cluster, tmp_path: Path
) -> None:
    """A limit that is lower than it must be is raised: every exporter is scraped, all at once."""
    (exporter,) = cluster.exporter_urls
    await cluster.set_fault(Fault("slow", 0.2))  # so that no connection is free for a second use
    exporters = [f"--exporter={exporter}?number={number}" for number in range(100)]
    low = ("sh", "-c", f'ulimit -Sn {LOW_LIMIT} && exec "$@"', "sh")
    config = str(kubeconfig(tmp_path, api.url))
    serve = ("serve", "--kubeconfig", config, "--secure-port", "0", *exporters)
    async with started(*serve, within=low) as process:
        line = await logged(process, "] serving kubernetes=")
        client = Client(line.rsplit("url=", 1)[1].split()[0], trust=False)
        assert_measured(await client.until(METRIC, 200))
        process.terminate()
        _, err = await process.communicate()
    assert b"scrape failed" not in err


async def test_every_flag_of_serve_has_its_effect(
    api: KubernetesAPI, cluster: Cluster, tmp_path: Path
) -> None:
    """The address, the port, the certificate, the exporters, the file, the form and the delay."""
    authority, port = Authority("the user's own"), unused_port()
    pair = authority.issue(["127.0.0.2"])
    certificate, key, config = (tmp_path / name for name in ("tls.crt", "tls.key", "config.yaml"))
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    config.write_text("pods: {namespaces: [default]}")
    arguments = {
        "config": config,
        "external_metrics": "true",
        "custom_metrics": "false",
        "kubeconfig": kubeconfig(tmp_path, api.url),
        "bind_address": "127.0.0.2",
        "secure_port": port,
        "tls_cert_file": certificate,
        "tls_private_key_file": key,
        "exporters": cluster.exporter_urls[0],
        "shutdown_delay": "700ms",
        "log_level": "info",
        "log_format": "json",
    }
    assert set(arguments) | FLAGS_OF_TRUST == set(FLAGS["serve"])
    line = [
        text for dest, value in arguments.items() for text in (FLAGS["serve"][dest], str(value))
    ]
    async with started("serve", *line) as process:
        told = json.loads(await logged(process, '"serving"'))
        assert told["url"] == f"https://127.0.0.2:{port}"
        trust = ssl.create_default_context(cadata=authority.bundle.decode())
        client = Client(told["url"], trust=trust)
        await client.until("/readyz", 200)
        assert_measured(await client.until(METRIC, 200))
        assert "external.metrics.k8s.io" in (groups := await client.until("/apis", 200))
        assert "custom.metrics.k8s.io" not in groups
        process.terminate()
        assert "shutdown" in await client.until("/readyz", 500)
        assert_measured(await client.until(METRIC, 200))
        _, err = await process.communicate()
    assert process.returncode == 0
    events = [json.loads(each) for each in err.decode().splitlines()]
    stopping, stopped = events[-2:]
    assert (stopping["event"], stopped["event"]) == ("stopping", "stopped")
    assert stopping["delay"] == pytest.approx(0.7)
    began, ended_ = (datetime.fromisoformat(one["timestamp"]) for one in (stopping, stopped))
    assert (ended_ - began).total_seconds() >= 0.7
    asked = {url.path for url in api.requests}
    assert "/api/v1/namespaces/default/pods" in asked
    assert "/api/v1/pods" not in asked
    assert not any("endpointslices" in path for path in asked)


async def test_the_flags_of_trust_have_their_effect(
    api: KubernetesAPI, cluster: Cluster, tmp_path: Path
) -> None:
    """The folder of the certificate, the authorities and names of front proxies, open paths."""
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
    """The pair is in the Secret, and what the APIService is given verifies the server."""
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


async def test_the_log_level_of_serve(api: KubernetesAPI, cluster: Cluster, tmp_path: Path) -> None:
    """At the level error a server that has no trouble says nothing."""
    port, config = unused_port(), kubeconfig(tmp_path, api.url)
    arguments = ("--kubeconfig", str(config), "--secure-port", str(port), "-v", "error")
    async with started("serve", *arguments) as process:
        await Client(f"https://127.0.0.1:{port}", trust=False).until("/readyz", 200)
        process.terminate()
        assert await process.communicate() == (b"", b"")
    assert process.returncode == 0
    assert cluster.ready_pods == 2


async def test_a_port_that_is_taken(api: KubernetesAPI, tmp_path: Path) -> None:
    """The status is 2, and the last line of the standard error names the port."""
    port, config = unused_port(), kubeconfig(tmp_path, api.url)
    arguments = ("--kubeconfig", str(config), "--secure-port", str(port))
    async with (
        await asyncio.start_server(lambda _, __: None, "127.0.0.1", port),
        started("serve", *arguments) as process,
    ):
        _, err = await process.communicate()
    assert process.returncode == 2
    assert f"--secure-port {port}: cannot listen: " in err.decode().splitlines()[-1]
    assert b"Traceback" not in err


async def test_every_flag_of_demo_has_its_effect() -> None:
    """The duration, the nodes, the port, the fault and the metric are in what it says and does."""
    port = unused_port()
    arguments = {
        "duration": "300ms",
        "nodes": "2",
        "port": str(port),
        "fault": "no-pod-labels",
        "metric_type": "external",
    }
    line = [text for dest, flag in FLAGS["demo"].items() for text in (flag, arguments[dest])]
    async with started("demo", *line) as process:
        out, err = await process.communicate()
    text = out.decode()
    assert (process.returncode, err) == (0, b"")
    assert f"serving at https://127.0.0.1:{port}:" in text
    assert "2 nodes with 8 GPUs" in text
    assert "every exporter has a fault: no-pod-labels" in text
    assert "as a metric of type External." in text
    assert "The demo ends after 0.3 s" in text
    assert "The HPA requested the metric once; answers: 1 from exporters." in text
