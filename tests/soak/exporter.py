"""An exporter on its own socket that can misbehave in every way."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import repeat
from typing import Literal, Self

from msgspec import Struct

POISON = 97
"""A value on pages that must not be believed; no pod ever has it."""

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
_SENTINEL = 4294967295
_PAUSE_SECONDS = 0.02
_MANY_ROWS = "".join(
    f'DCGM_FI_DEV_GPU_UTIL{{gpu="{n}",UUID="GPU-x-{n}",namespace="other",pod="p{n}"}} {POISON}\n'
    for n in range(5000)
).encode()

# A RuntimeError is how uvloop reports a write to a closed connection.
CUT_OFF = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, RuntimeError)
"""What is raised to whoever talks to somebody that has closed the connection."""

Page = Callable[[float | None], str]
"""Renders the exporter's page; with a value, that is every GPU's."""


class Behaviour(Struct, frozen=True):
    """How an exporter responds to a request.

    Attributes:
        pieces: what it sends, with a pause after each.
        then: what it does after sending them.
    """

    pieces: Callable[[Page], Iterable[bytes]]
    then: Literal["goes on", "closes", "resets", "hangs"] = "goes on"


def _response(body: bytes, *, head: bytes = _HEAD, length: int | None = None) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def _poisoned(page: Page) -> bytes:
    return page(POISON).encode()


def _endless(page: Page) -> Iterable[bytes]:
    piece = _poisoned(page) * 20
    yield _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    yield from repeat(b"%x\r\n%b\r\n" % (len(piece), piece))


def _drops(page: Page) -> Iterable[bytes]:
    whole = _response(_poisoned(page))
    return (whole[n : n + 1] for n in range(len(whole)))


def _half(page: Page) -> Iterable[bytes]:
    whole = _response(_poisoned(page))
    return [whole[: len(whole) // 2]]


_WELL = Behaviour(lambda page: [_response(page(None).encode())])
_REFUSES = "refuses"
BEHAVIOURS = {
    _REFUSES: Behaviour(lambda _: (), "resets"),
    "hangs": Behaviour(lambda _: (), "hangs"),
    "hangs in the body": Behaviour(_half, "hangs"),
    "drips": Behaviour(_drops),
    "resets": Behaviour(lambda _: (), "resets"),
    "cuts its page": Behaviour(
        lambda page: [_response(_poisoned(page), length=len(_poisoned(page)) + 1000)], "closes"
    ),
    "lies about its length": Behaviour(
        lambda page: [_response(_poisoned(page), length=len(_poisoned(page)) - 5)]
    ),
    "sends no length": Behaviour(lambda page: [_HEAD + b"\r\n" + _poisoned(page)], "closes"),
    "compresses": Behaviour(
        lambda page: [_response(_poisoned(page), head=_HEAD + b"Content-Encoding: gzip\r\n")]
    ),
    "answers 500": Behaviour(
        lambda page: [_response(_poisoned(page), head=_HEAD.replace(b"200 OK", b"500 No"))]
    ),
    "redirects": Behaviour(
        lambda _: [_response(b"", head=b"HTTP/1.1 302 Found\r\nLocation: /metrics\r\n")]
    ),
    "sends garbage": Behaviour(lambda _: [bytes(range(256)) * 20 + b"\r\n\r\n"], "closes"),
    "sends HTML": Behaviour(
        lambda page: [_response(_poisoned(page), head=_HEAD.replace(b"plain", b"html"))]
    ),
    "sends 100 Continue without end": Behaviour(
        lambda _: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 20)
    ),
    "sends a page without end": Behaviour(_endless),
    "sends sentinels": Behaviour(lambda page: [_response(page(_SENTINEL).encode())]),
    "names GPUs twice": Behaviour(lambda page: [_response(page(None).encode() + _poisoned(page))]),
    "sends an empty page": Behaviour(lambda _: [_response(b"")]),
    "sends a long page": Behaviour(lambda page: [_response(page(None).encode() + _MANY_ROWS)]),
}
"""By name, every way in which an exporter can misbehave."""


class Exporter:
    """One node's exporter; an asynchronous context manager.

    Args:
        page: renders its page.

    Attributes:
        port: its current port; each `move` changes it.
    """

    def __init__(self, page: Page) -> None:
        self.port = 0
        self._page = page
        self._behaviour = ""
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def behave(self, behaviour: str) -> None:
        """Behave like this from now on, one of BEHAVIOURS; "" is well. Resets open connections."""
        was, self._behaviour = self._behaviour, behaviour
        if (was == _REFUSES) == (behaviour == _REFUSES):
            self._reset()
        elif behaviour == _REFUSES:
            await self._close()
        else:
            await self._listen(self.port)

    async def move(self) -> None:
        """Move to another port."""
        await self._close()
        self._behaviour = ""
        await self._listen()

    async def _listen(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        await asyncio.gather(*self._reset(), return_exceptions=True)

    def _reset(self) -> list[asyncio.Task[None]]:
        """Reset every connection; return the tasks that this ends."""
        for task, writer in self._open.items():
            writer.transport.abort()
            task.cancel()
        return [*self._open]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        # If this ended by cancellation, asyncio would report an error.
        with suppress(*CUT_OFF, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        del self._open[task]
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        await reader.readuntil(b"\r\n\r\n")
        behaviour = BEHAVIOURS.get(self._behaviour, _WELL)
        for number, piece in enumerate(behaviour.pieces(self._page)):
            await asyncio.sleep(_PAUSE_SECONDS * (number > 0))
            writer.write(piece)
            await writer.drain()
        if behaviour.then == "hangs":
            await asyncio.Event().wait()
        if behaviour.then == "resets":
            writer.transport.abort()
        return behaviour.then == "goes on"
