"""The command as a process, and a client of its server."""

import asyncio
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.support.forking import PIPE, ForkedProcess, fork_program

METRIC = (
    "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
    "?labelSelector=app%3Dinference"
)


@asynccontextmanager
async def started(*arguments: str, preamble: str = "") -> AsyncIterator[ForkedProcess]:
    """The command, in a separate process that ends with the context.

    Args:
        arguments: the command's arguments.
        preamble: code that the process runs first.
    """
    process = await fork_program(*arguments, preamble=preamble, stdout=PIPE, stderr=PIPE)
    async with _ended_after(process):
        yield process


@asynccontextmanager
async def started_from_nothing(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The same, but in a new Python process, not a fork."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "metrics_server", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # The parent may ignore it, as a shell does for commands in the background.
        preexec_fn=_heed_interrupts,
    )
    async with _ended_after(process):
        yield process


@asynccontextmanager
async def _ended_after(process: asyncio.subprocess.Process | ForkedProcess) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def logged(process: asyncio.subprocess.Process | ForkedProcess, event: str) -> str:
    """The log line of an event."""
    assert process.stderr is not None
    while event not in (line := (await process.stderr.readline()).decode()):
        assert line, f"it ended without telling {event!r}"
    return line


class Client:
    """Sends requests to a server.

    Args:
        url: the server's URL.
        trust: verifies its certificate; False trusts any.
        known: whether it sends a valid token.
    """

    def __init__(self, url: str, *, trust: ssl.SSLContext | bool, known: bool = True) -> None:
        self._url = url
        self._trust = trust
        self._is_known = known

    async def get(self, path: str) -> tuple[int, str] | None:
        """The status and the text of an answer; None if the connection fails."""
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
