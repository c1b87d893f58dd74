"""Servers on bare sockets, and what a fault may leave behind."""

import asyncio
import logging
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
from msgspec import Struct
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.support.waiting import eventually

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_GONE = (OSError, asyncio.IncompleteReadError)
_WARNINGS = ("warning", "error", "critical")


class RawServer:
    """Runs the test's code for each connection. An asynchronous context manager.

    Args:
        talk: handles a connection, which is closed afterwards.
        context: for TLS; without TLS if None.

    Attributes:
        port: the port; it stays the same after a stop.
    """

    def __init__(self, talk: Talk, context: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._talk = talk
        self._context = context
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, unless it does."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, ssl=self._context
            )
            self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Refuse new connections, and end the existing ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """End every connection."""
        tasks = list(self._connections)
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(*_GONE):
                await self._talk(reader, writer)
        finally:
            writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, as when the peer is killed."""
    connection = writer.get_extra_info("socket")
    if connection is not None:  # the peer may have closed it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Census(Struct, frozen=True):
    """What this process has open: the server, and the simulated cluster."""

    tasks: int
    descriptors: int


async def census() -> Census:
    """The current state."""
    return Census(len(asyncio.all_tasks()), _descriptors())


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def settled(before: Census) -> None:
    """Wait until no more is open than before."""
    await eventually(
        census,
        lambda now: now.tasks <= before.tasks and now.descriptors <= before.descriptors,
    )


class Log:
    """All log lines, from the server and from its libraries."""

    def __init__(self, own: list[EventDict], foreign: pytest.LogCaptureFixture) -> None:
        self._own = own
        self._foreign = foreign

    def clear(self) -> None:
        """Forget what was logged so far."""
        self._own.clear()
        self._foreign.clear()

    def warnings(self) -> list[str]:
        """The events of level warning and above, in order; the server's own first."""
        own = [str(one["event"]) for one in self._own if one["log_level"] in _WARNINGS]
        records = self._foreign.records
        return own + [one.getMessage() for one in records if one.levelno >= logging.WARNING]

    def by_path(self, event: str) -> Counter[str]:
        """How many lines an event has, by watched path."""
        return Counter(str(one["path"]) for one in self.lines(event))

    def lines(self, event: str) -> list[EventDict]:
        """An event's lines."""
        return [one for one in self._own if one["event"] == event]


@contextmanager
def logged(foreign: pytest.LogCaptureFixture) -> Iterator[Log]:
    """The log during the context."""
    foreign.clear()
    with capture_logs() as own:
        yield Log(own, foreign)
