"""Hostile callers. Each has its own address, and continues until cancelled."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from random import Random

from metrics_server.api.types import GROUP_VERSION
from tests.soak.exporter import CUT_OFF

METRIC = f"/apis/{GROUP_VERSION}/namespaces/team-a/gpu_utilization"


class Stranger:
    """Opens connections to the server from one address.

    Args:
        url: of the server.
        anonymous: for TLS without a certificate.
        proxy: for TLS as the front proxy: for attacks by users behind kube-apiserver.
        rng: the source of randomness.
    """

    def __init__(
        self,
        url: str,
        anonymous: ssl.SSLContext,
        proxy: ssl.SSLContext,
        rng: Random,
    ) -> None:
        self._host, _, self._port = url.removeprefix("https://").partition(":")
        self._anonymous, self._proxy = anonymous, proxy
        self._rng = rng
        self._address = f"127.0.{rng.randint(1, 200)}.{rng.randint(2, 200)}"

    async def open(
        self, context: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection; raises OSError if it is refused or reset."""
        return await asyncio.open_connection(
            self._host, int(self._port), ssl=context, local_addr=(self._address, 0)
        )

    async def again(self, pause: float, attack: Callable[[], Awaitable[None]]) -> None:
        """Attack repeatedly; being cut off is expected."""
        while True:
            with suppress(*CUT_OFF):
                await attack()
            await asyncio.sleep(pause)

    async def request(self, context: ssl.SSLContext, path: str, *headers: str) -> None:
        """Send one request, and read the answer."""
        reader, writer = await self.open(context)
        try:
            writer.write(_head(path, *headers, "Connection: close"))
            while await reader.read(65536):
                pass
        finally:
            writer.transport.abort()

    async def hold(self, connections: int, context: ssl.SSLContext | None, data: bytes) -> None:
        """Open connections, send this on each, and then do nothing."""
        writers: list[asyncio.StreamWriter] = []
        try:
            for _ in range(connections):
                with suppress(*CUT_OFF):
                    _, writer = await self.open(context)
                    writers.append(writer)
                    writer.write(data)
                await asyncio.sleep(0.01)
            await asyncio.Event().wait()
        finally:
            for writer in writers:
                writer.transport.abort()

    async def idle(self) -> None:
        """Connections on which nothing is ever sent."""
        await self.hold(80, None, b"")

    async def idle_in_tls(self) -> None:
        """Connections that are silent after the handshake."""
        await self.hold(30, self._anonymous, b"")

    async def slow_heads(self) -> None:
        """Heads that arrive one line per second and never end."""

        async def attack() -> None:
            _, writer = await self.open(self._anonymous)
            try:
                writer.write(_head("/version")[:-2])
                while True:
                    await asyncio.sleep(1)
                    writer.write(b"X-More: 1\r\n")
                    await writer.drain()
            finally:
                writer.transport.abort()

        await asyncio.gather(*(self.again(1, attack) for _ in range(15)))

    async def large_heads(self) -> None:
        """Heads of the maximum size, without an end."""
        await self.hold(20, self._anonymous, _head("/version", "X-Large: " + "x" * 60_000)[:-4])

    async def accept(self) -> None:
        """Accept headers with thousands of ranges."""
        header = "Accept: " + "x/y;q=0," * 1900 + "*/*," * 4000
        await self.again(0.5, lambda: self.request(self._anonymous, "/version", header))

    async def never_reads(self) -> None:
        """Many long answers requested, and none of them read."""
        asked = _head("/openapi/v2", "X-Remote-User: system:masters") * 50
        await self.hold(4, self._proxy, asked)

    async def leaves(self) -> None:
        """Clients that leave before they are answered."""

        async def attack() -> None:
            _, writer = await self.open(self._proxy)
            try:
                writer.write(_head(METRIC, "X-Remote-User: leaver"))
                await writer.drain()
                await asyncio.sleep(self._rng.random() / 50)
            finally:
                writer.transport.abort()

        await self.again(0.2, attack)

    async def selectors(self) -> None:
        """Selectors that are different each time, some of them long."""

        async def attack() -> None:
            values = ",".join(
                f"v{self._rng.getrandbits(64)}" for _ in range(self._rng.choice((1, 300)))
            )
            path = f"{METRIC}?labelSelector=app+notin+({values})"
            await self.request(self._proxy, path, "X-Remote-User: tenant")

        await self.again(0.15, attack)

    async def tokens(self) -> None:
        """Tokens that are different each time."""

        async def attack() -> None:
            token = f"{self._rng.getrandbits(256):x}"
            await self.request(self._anonymous, METRIC, f"Authorization: Bearer {token}")

        await self.again(0.15, attack)

    async def users(self) -> None:
        """Users, paths and namespaces that are different each time."""

        async def attack() -> None:
            number = self._rng.getrandbits(64)
            path = METRIC.replace("team-a", f"n{number}")
            groups = [f"X-Remote-Group: g{number}-{n}" for n in range(100)]
            await self.request(self._proxy, path, f"X-Remote-User: u{number}", *groups)

        await self.again(0.15, attack)

    async def garbage(self) -> None:
        """Bytes that are not TLS, or TLS around bytes that are not HTTP."""

        async def attack() -> None:
            context = self._rng.choice((None, self._anonymous))
            reader, writer = await self.open(context)
            try:
                writer.write(self._rng.randbytes(self._rng.choice((1, 100, 5000))))
                await asyncio.wait_for(reader.read(65536), 2)
            except TimeoutError:
                pass
            finally:
                writer.transport.abort()

        await self.again(0.2, attack)

    async def bodies(self) -> None:
        """Bodies where none are allowed."""

        async def attack() -> None:
            reader, writer = await self.open(self._proxy)
            try:
                length = self._rng.choice((10, 70_000, 3_000_000))
                head = f"POST {METRIC} HTTP/1.1\r\nHost: x\r\nX-Remote-User: u\r\n"
                writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode())
                writer.write(b"x" * min(length, 200_000))
                await asyncio.wait_for(reader.read(65536), 2)
            except TimeoutError:
                pass
            finally:
                writer.transport.abort()

        await self.again(0.5, attack)


ATTACKS: dict[str, Callable[[Stranger], Coroutine[None, None, None]]] = {
    "idle connections": Stranger.idle,
    "idle connections in TLS": Stranger.idle_in_tls,
    "slow heads": Stranger.slow_heads,
    "large unfinished heads": Stranger.large_heads,
    "huge Accept headers": Stranger.accept,
    "clients that never read": Stranger.never_reads,
    "clients that leave": Stranger.leaves,
    "distinct selectors": Stranger.selectors,
    "distinct tokens": Stranger.tokens,
    "distinct users": Stranger.users,
    "garbage": Stranger.garbage,
    "bodies": Stranger.bodies,
}


def _head(path: str, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()
