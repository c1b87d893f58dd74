"""A server process stops without dropping a request."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from metrics_server.simulator.kube.objects import PODS
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from tests.support.clients import Client
from tests.support.exporters import PageExporter, page
from tests.support.harness import admin, kubernetes_api, write_kubeconfig
from tests.support.objects import pod
from tests.support.server import UTILIZATION, write_pair
from tests.support.waiting import eventually


class Line(msgspec.Struct):
    """A line of the log."""

    event: str
    url: str = ""


class Process:
    """A separate `gpu-metrics-server serve` process.

    Attributes:
        lines: its log so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[Line] = []

    async def until(self, event: str) -> Line:
        """The line for this event, once it is logged."""
        assert self.process.stderr is not None
        async with asyncio.timeout(15):
            while text := await self.process.stderr.readline():
                # One JSON object per line: a traceback would not parse.
                self.lines.append(msgspec.json.decode(text, type=Line))
                if self.lines[-1].event == event:
                    return self.lines[-1]
        raise AssertionError(f"it ended after {self.lines}")


@asynccontextmanager
async def process(*arguments: str | Path) -> AsyncIterator[Process]:
    """A server in a separate process, which is ended afterwards."""
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
    """Whether connections are refused."""
    try:
        await client.ask("/livez")
    except aiohttp.ClientConnectionError:
        return True
    return False


@pytest.mark.slow
async def test_a_graceful_stop(tmp_path: Path) -> None:
    """On SIGTERM readiness fails first, then the listener closes, then open requests finish."""
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
                # Callers that have not noticed yet are still served.
                assert (await client.ask("/livez")).text == "ok"
                assert (await client.ask("/apis")).status == 200

                await eventually(lambda: is_refused(client), bool)
                assert not asking.done()
                exporter.may_answer.set()
                assert (await asking).item().value == "10"
            await server.until("stopped")
            assert await asyncio.wait_for(server.process.wait(), 15) == 0
