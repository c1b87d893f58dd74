"""A separate server process in a simulated cluster, whose insides can be counted."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS, Object
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from tests.support.clients import Answer, Client
from tests.support.exporters import PageExporter, page
from tests.support.forking import ForkedProcess, fork_program
from tests.support.harness import admin, kubernetes_api, write_kubeconfig
from tests.support.objects import pod
from tests.support.waiting import eventually

# Runs the server like `gpu-metrics-server`, in a process whose system clock can be set: a
# signal sets it back by an hour.
CLOCK_CAN_BE_SET = """
import signal, time
shift = 0.0
now = time.time
def set_back(*_):
    global shift
    shift = -3600.0
time.time = lambda: now() + shift
signal.signal(signal.SIGUSR1, set_back)
"""


class Line(msgspec.Struct):
    """A line of the log."""

    event: str
    level: str = ""
    url: str = ""
    error: str = ""


@dataclass
class ServerProcess:
    """A separate `gpu-metrics-server serve` process.

    Attributes:
        process: the process.
        log: its log so far.
        reads_log: while it is not set, the log is not read.
    """

    process: ForkedProcess
    log: list[Line] = field(default_factory=list)
    reads_log: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def descriptors(self) -> int:
        """How many files and sockets are open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    @property
    def resident(self) -> int:
        """Its resident memory, in bytes."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def processor_seconds(self) -> float:
        """Its processor time so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak(self) -> int:
        """Its peak memory, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def events(self, level: str = "warning") -> list[str]:
        """The events at a level, in order."""
        return [line.event for line in self.log if line.level == level]

    async def read_log(self) -> None:
        """Read its log to the end."""
        assert self.process.stderr is not None
        while text := await self.process.stderr.readline():
            await self.reads_log.wait()
            if not text.endswith(b"\n"):
                return  # it ended before the rest was read
            # One JSON object per line: a traceback would not parse.
            self.log.append(msgspec.json.decode(text, type=Line))

    async def logged(self, event: str) -> Line:
        """The first line for an event, once it is logged."""

        async def found() -> Line | None:
            return next((line for line in self.log if line.event == event), None)

        line = await eventually(found, lambda line: line is not None)
        assert line is not None
        return line


@dataclass(frozen=True)
class Scene:
    """A server process and its surroundings.

    Attributes:
        server: the process.
        client: an administrator.
        api: the Kubernetes API.
        trust: certificates and reviews.
        exporter: on the node gpu-0.
        bundle: the authority that verifies the server's certificate.
    """

    server: ServerProcess
    client: Client
    api: KubernetesAPI
    trust: SimulatedTrust
    exporter: PageExporter
    bundle: bytes

    def as_front_proxy(self) -> Client:
        """kube-apiserver's aggregator, as a context."""
        return Client(str(self.client.url), self.bundle, self.trust.front_proxy())

    async def ask(self) -> Answer:
        """The answer to the HPA's question for the pods with app=inference."""
        return await self.client.metric("default", "gpu_utilization", "app=inference")

    async def value(self) -> str:
        """That answer's value, or the error's status."""
        answer = await self.ask()
        return answer.item().value if answer.status == 200 else str(answer.status)


@asynccontextmanager
async def server_process(
    *arguments: str | Path, preamble: str = "", stderr: int = asyncio.subprocess.PIPE
) -> AsyncIterator[ServerProcess]:
    """A separate server process, which is ended afterwards.

    Args:
        arguments: flags of `serve`, besides those for the port and the log format.
        preamble: code that the process runs first.
        stderr: receives its log, which is read if this is a pipe.
    """
    line = ("serve", "--secure-port", "0", "--log-format", "json", *map(str, arguments))
    started = await fork_program(*line, preamble=preamble, stderr=stderr)
    server = ServerProcess(started)
    server.reads_log.set()
    following = asyncio.create_task(server.read_log()) if started.stderr is not None else None
    try:
        yield server
    finally:
        if started.returncode is None:
            with suppress(ProcessLookupError):
                started.kill()
        server.reads_log.set()
        await started.wait()
        if following is not None:
            await following


@asynccontextmanager
async def scene(
    folder: Path,
    *,
    config: str = "exporters: {maxAge: 50ms}\nfallback: {chain: [error]}\n",
    pods: Sequence[Object] = (),
    arguments: Sequence[str] = (),
    preamble: str = "",
) -> AsyncIterator[Scene]:
    """A ready server process, in a cluster of one node.

    Args:
        folder: for its files.
        config: the configuration file.
        pods: the cluster's; by default one that is measured at 10 %.
        arguments: more flags.
        preamble: code that the process runs first.
    """
    (folder / "config.yaml").write_text(config)
    certificate = write_pair(folder)
    async with (
        kubernetes_api() as (api, authority),
        PageExporter(page({("default", "a"): [10]})) as exporter,
    ):
        trust = SimulatedTrust(api)
        for obj in pods or [pod("a")]:
            api.apply(PODS, obj)
        api.apply(ENDPOINT_SLICES, manifests.endpoint_slice("gpu-0", exporter.port))
        write_kubeconfig(folder / "kubeconfig", api.url, authority.bundle)
        async with server_process(
            *("--kubeconfig", folder / "kubeconfig", "--config", folder / "config.yaml"),
            *("--cert-dir", folder),
            *arguments,
            preamble=preamble,
        ) as server:
            url = (await server.logged("serving")).url
            async with Client(url, certificate, admin(trust)) as client:
                ready = await eventually(
                    lambda: client.ask("/readyz"), lambda answer: answer.status == 200
                )
                assert ready.text == "ok"
                yield Scene(server, client, api, trust, exporter, certificate)


def write_pair(folder: Path) -> bytes:
    """Write a serving certificate to a folder, and return the authority that verifies it."""
    authority = Authority("from-disk")
    pair = authority.issue(["127.0.0.1"])
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)
    return authority.bundle
