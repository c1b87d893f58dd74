"""Few files may be open, or the log is on a full disk."""

import asyncio
import os
import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port

from tests.faults.process import Scene, scene, server_process
from tests.support.clients import Answer, Client
from tests.support.harness import admin
from tests.support.peers import HOST, cut, of_both_versions, trusting
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

FILES = 64
FEW_FILES = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))"


async def handshake(port: int, context: ssl.SSLContext) -> asyncio.StreamWriter | None:
    """A persistent connection; None if it took too long."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.5):
            return (await asyncio.open_connection(HOST, port, ssl=context))[1]
    return None


@of_both_versions
async def test_more_clients_than_files(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """It stays up without spinning, and recovers once they are gone."""
    async with scene(tmp_path, preamble=FEW_FILES) as here:
        assert await here.value() == "10"
        port = here.client.url.port
        assert port is not None
        before = here.server.descriptors
        context = trusting(here.bundle, version=version)
        with ExitStack() as stack:
            # Connections that are not accepted wait in the kernel.
            for _ in range(FILES):
                stack.enter_context(socket.create_connection((HOST, port)))
            kept = await asyncio.gather(*(handshake(port, context) for _ in range(FILES)))
            refused = await here.server.logged("accepting connections fails")
            assert "Too many open files" in refused.error
            began = here.server.processor_seconds
            await asyncio.sleep(2)
            assert here.server.processor_seconds - began < 1
            for writer in kept:
                if writer is not None:
                    cut(writer)

        async def asked() -> str:
            with suppress(OSError):
                return await here.value()
            return "cut off"

        assert await eventually(asked, lambda value: value == "10", patience=20) == "10"
        await descriptors_are_back(here, before)
        assert here.server.process.returncode is None
        assert len(here.server.log) < 100
        assert here.server.events("error") == []


async def descriptors_are_back(here: Scene, before: int) -> None:
    """Nothing temporary is still open."""

    async def count() -> int:
        return here.server.descriptors

    await eventually(count, lambda now: now <= before + 2)


async def test_a_log_on_a_full_disk(tmp_path: Path) -> None:
    """Where no line can be written, the server becomes ready, answers, and stops."""
    async with scene(tmp_path) as here:
        port = unused_port()
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            async with server_process(
                *("--kubeconfig", tmp_path / "kubeconfig", "--config", tmp_path / "config.yaml"),
                *("--cert-dir", tmp_path, "--secure-port", str(port), "--log-level", "debug"),
                stderr=full,
            ) as server:
                async with Client(
                    f"https://{HOST}:{port}", here.bundle, admin(here.trust)
                ) as client:

                    async def ready() -> int:
                        with suppress(OSError):
                            return (await client.ask("/readyz")).status
                        return 0

                    await eventually(ready, lambda status: status == 200)
                    for _ in range(20):
                        answer = await client.metric("default", "gpu_utilization", "app=inference")
                        assert answer.item().value == "10"
                    assert (await client.ask("/livez")).text == "ok"
                server.process.terminate()
                assert await asyncio.wait_for(server.process.wait(), 15) == 0
        finally:
            os.close(full)


@pytest.mark.parametrize("kept", [False, True], ids=["idle", "asked"])
async def test_killed_and_started_again(tmp_path: Path, *, kept: bool) -> None:
    """A killed process leaves nothing behind that blocks the next one's port or work."""
    async with scene(tmp_path) as here:
        port = here.client.url.port
        connection = await handshake(port or 0, trusting(here.bundle)) if kept else None
        asking: asyncio.Task[Answer] | None = None
        if kept:
            here.exporter.may_answer.clear()
            asking = asyncio.create_task(here.ask())
            await eventually(lambda: scrapes(here), bool)
        here.server.process.kill()
        await here.server.process.wait()
        if asking is not None:
            with pytest.raises(OSError, match=r".*"):
                await asking
            here.exporter.may_answer.set()
        async with server_process(
            *("--kubeconfig", tmp_path / "kubeconfig", "--config", tmp_path / "config.yaml"),
            *("--cert-dir", tmp_path, "--secure-port", str(port)),
        ) as again:
            await again.logged("serving")
            await eventually(
                lambda: here.client.ask("/readyz"), lambda answer: answer.status == 200
            )
            assert await here.value() == "10"
            assert again.events("error") == []
        if connection is not None:
            cut(connection)


async def scrapes(here: Scene) -> int:
    """How often the exporter was scraped."""
    return here.exporter.scrapes
