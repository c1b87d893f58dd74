"""An exporter on a socket of its own that can misbehave in every way."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

# Stands on pages that must not be believed: no pod ever has it.
POISON = 97

BEHAVIOURS = (
    "refuses",
    "hangs",
    "hangs in the body",
    "drips",
    "resets",
    "cuts its page",
    "lies about its length",
    "sends no length",
    "compresses",
    "answers 500",
    "redirects",
    "sends garbage",
    "sends HTML",
    "sends 100 Continue for ever",
    "sends a page without end",
    "sends sentinels",
    "names GPUs twice",
    "sends an empty page",
    "sends a long page",
)

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
_FIELD = "DCGM_FI_DEV_GPU_UTIL"


class Exporter:
    """The exporter of one node; an asynchronous context manager.

    Args:
        page: renders its page; with a value, that is every GPU's.

    Attributes:
        behaviour: one of BEHAVIOURS; empty while it is well.
        scrapes: how many times it was asked.
        port: where it serves; another one after each `move`.
    """

    def __init__(self, page: Callable[[float | None], str]) -> None:
        self._page = page
        self.behaviour = ""
        self.scrapes = 0
        self.port = 0
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def behave(self, behaviour: str) -> None:
        """Do this from now on, on connections that are open too."""
        was, self.behaviour = self.behaviour, behaviour
        if behaviour == "refuses":
            await self._close()
        elif was == "refuses":
            await self._listen(self.port)
        else:
            self._drop()

    async def move(self) -> None:
        """Come back at another port."""
        await self._close()
        await self._listen()

    async def _listen(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        tasks = self._drop()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self) -> list[asyncio.Task[None]]:
        """Reset every connection."""
        tasks = [*self._open]
        for task, writer in self._open.items():
            writer.transport.abort()
            task.cancel()
        return tasks

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        # A cancelled handler of a stream would be reported by asyncio as an error.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.scrapes += 1
                if not await self._answer(writer):
                    break
        self._open.pop(task, None)
        writer.transport.abort() if self.behaviour == "resets" else writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        well = self._page(None).encode()
        poisoned = self._page(POISON).encode()
        whole = _HEAD + b"Content-Length: %d\r\n\r\n"
        match self.behaviour:
            case "hangs":
                await asyncio.Event().wait()
            case "hangs in the body":
                writer.write(whole % len(poisoned) + poisoned[: len(poisoned) // 2])
                await asyncio.Event().wait()
            case "drips":
                for byte in whole % len(poisoned) + poisoned:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.05)
            case "resets":
                return False
            case "cuts its page":
                writer.write(whole % (len(poisoned) + 1000) + poisoned)
                return False
            case "lies about its length":
                writer.write(whole % (len(poisoned) - 5) + poisoned)
            case "sends no length":
                writer.write(_HEAD + b"\r\n" + poisoned)
                return False
            case "compresses":
                head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
                writer.write(_HEAD + head % len(poisoned) + poisoned)
            case "answers 500":
                head = b"HTTP/1.1 500 No\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
                writer.write(head % len(poisoned) + poisoned)
            case "redirects":
                head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/metrics\r\n"
                writer.write(head % self.port + b"Content-Length: 0\r\n\r\n")
            case "sends garbage":
                writer.write(bytes(range(256)) * 20 + b"\r\n\r\n")
                return False
            case "sends HTML":
                html = b"<html>\n%d</html>\n" % POISON
                writer.write(whole.replace(b"plain", b"html") % len(html) + html)
            case "sends 100 Continue for ever":
                while True:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 20)
                    await writer.drain()
                    await asyncio.sleep(0.02)
            case "sends a page without end":
                writer.write(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
                chunk = poisoned * (1 + 65536 // (len(poisoned) + 1))
                while True:
                    writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    await writer.drain()
                    await asyncio.sleep(0.02)
            case "sends sentinels":
                self._write(writer, self._page(4294967295))
            case "names GPUs twice":
                self._write(writer, well.decode() + poisoned.decode())
            case "sends an empty page":
                self._write(writer, "")
            case "sends a long page":
                more = "".join(
                    f'{_FIELD}{{gpu="{n}",UUID="GPU-x-{n}",namespace="other",pod="p{n}"}} {POISON}\n'
                    for n in range(5000)
                )
                self._write(writer, well.decode() + more)
            case _:
                self._write(writer, well.decode())
        await writer.drain()
        return True

    def _write(self, writer: asyncio.StreamWriter, page: str) -> None:
        body = page.encode()
        writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
