"""A server in a separate process, and the simulated cluster around it."""

import asyncio
import ssl
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from metrics_server.simulator.kube.reviews import Caller
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import client_context, context_from_pair
from tests.faults.process import ServerProcess, server_process
from tests.soak.api import FaultyAPI
from tests.soak.sampling import PREAMBLE, Log, Process
from tests.soak.world import World
from tests.support.harness import write_kubeconfig

TOKEN = "prometheus"  # noqa: S105 - of the simulated cluster

# On a busy machine, a late exporter is not a fault.
_CONFIG = "exporters: {timeout: 3s}\nfallback: {chain: [last-known, error]}\n"
_START_SECONDS = 60


class Failed(Exception):  # noqa: N818 - the soak has, not the program
    """The server failed; the message says how."""


@dataclass
class Stage:
    """The server, and the targets of faults.

    Attributes:
        server: its process.
        process: the same, for sampling.
        log: its log.
        world: the exporters and pods.
        api: the Kubernetes API.
        trust: its certificates and reviews.
        folder: has the server's files.
        authority: signs the serving pairs.
        anonymous: TLS for a client without a certificate.
        proxy: TLS for the front proxy.
        injected: how often each fault was injected.
    """

    server: ServerProcess
    process: Process
    log: Log
    world: World
    api: FaultyAPI
    trust: SimulatedTrust
    folder: Path
    authority: Authority
    anonymous: ssl.SSLContext
    proxy: ssl.SSLContext
    injected: Counter[str] = field(default_factory=Counter)


@asynccontextmanager
async def staged(seed: int, log_file: Path, preamble: str) -> AsyncIterator[Stage]:
    """A stage whose server serves.

    Args:
        seed: for the pods.
        log_file: where the server's log goes.
        preamble: code that the server's process runs first.

    Raises:
        Failed: the server does not start.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kubernetes, serving = Authority("kubernetes"), Authority("serving")
        context = await asyncio.to_thread(context_from_pair, kubernetes.issue(["127.0.0.1"]))
        api = await stack.enter_async_context(FaultyAPI(ssl_context=context))
        trust = SimulatedTrust(api, {TOKEN: Caller(TOKEN, groups=("monitoring",))})
        world = await stack.enter_async_context(World(api, f"{seed}-world"))
        pair = serving.issue(["127.0.0.1"])
        (folder / "tls.crt").write_bytes(pair.certificate)
        (folder / "tls.key").write_bytes(pair.key)
        (folder / "config.yaml").write_text(_CONFIG)
        write_kubeconfig(folder / "kubeconfig", api.url, kubernetes.bundle)
        written = stack.enter_context(log_file.open("wb"))
        log = Log(stack.enter_context(log_file.open("rb")))
        counts = folder / "counts.json"
        server = await stack.enter_async_context(
            server_process(
                *("--kubeconfig", folder / "kubeconfig", "--config", folder / "config.yaml"),
                *("--cert-dir", folder),
                preamble=PREAMBLE.format(path=str(counts)) + preamble,
                stderr=written.fileno(),
            )
        )
        await _serving(server, log)
        yield Stage(
            server,
            Process(server.process.pid, counts),
            log,
            world,
            api,
            trust,
            folder,
            serving,
            await asyncio.to_thread(client_context, serving.bundle),
            await asyncio.to_thread(client_context, serving.bundle, trust.front_proxy()),
        )


async def _serving(server: ServerProcess, log: Log) -> None:
    """Wait until the server logs where it serves."""
    end = monotonic() + _START_SECONDS
    while not log.url:
        log.read()
        if server.process.returncode is not None or monotonic() > end:
            raise Failed(f"the server did not start: {log.bad}")
        await asyncio.sleep(0.05)
