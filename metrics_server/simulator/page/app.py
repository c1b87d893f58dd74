"""The page's web application: its files, the stream of moments, and the changes."""

import asyncio
import socket
from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePosixPath

import msgspec
from aiohttp import web

from metrics_server.simulator.page.broadcast import Broadcast, TooManyStreamsError
from metrics_server.simulator.page.controls import (
    Change,
    Desk,
    FaultChange,
    HpaChange,
    LoadChange,
    RejectedChangeError,
)
from metrics_server.simulator.page.guard import add_headers, guard

_MOST_BODY_BYTES = 4096
_BODY_SECONDS = 5
# How long a page may leave an event unread.
_WRITE_SECONDS = 5
# The kernel's buffer of a stream, so that a page which does not read is noticed.
_KERNEL_BYTES = 64 * 1024

_CHANGES: Mapping[str, type[Change]] = {
    "/load": LoadChange,
    "/fault": FaultChange,
    "/hpa": HpaChange,
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Rejection(msgspec.Struct, frozen=True):
    """The answer to a change that is not possible.

    Attributes:
        message: why.
        field: the field that is wrong; empty if it is not one field.
    """

    message: str
    field: str = ""


def static_files() -> Mapping[str, bytes]:
    """Read the page's files, by name."""
    folder = files("metrics_server.simulator.page") / "static"
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def application(static: Mapping[str, bytes], broadcast: Broadcast, desk: Desk) -> web.Application:
    """Return the application.

    Args:
        static: the page's files, by name.
        broadcast: the moments.
        desk: makes the changes.
    """
    app = web.Application(middlewares=[guard], client_max_size=_MOST_BODY_BYTES)
    app.on_response_prepare.append(add_headers)
    pages = _Pages(broadcast, desk)
    for name, body in static.items():
        path = "/" if name == "index.html" else f"/{name}"
        app.router.add_get(path, _File(body, _TYPES[PurePosixPath(name).suffix]).answer)
    app.router.add_get("/events", pages.events, allow_head=False)
    for path in _CHANGES:
        app.router.add_post(path, pages.change)
    return app


class _File:
    def __init__(self, body: bytes, content_type: str) -> None:
        self._body = body
        self._headers = {"Content-Type": content_type}

    async def answer(self, _: web.Request) -> web.Response:
        """Return the file."""
        return web.Response(body=self._body, headers=self._headers)


class _Pages:
    def __init__(self, broadcast: Broadcast, desk: Desk) -> None:
        self._broadcast = broadcast
        self._desk = desk

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send the moments until the demo ends or the page is closed."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            with self._broadcast.stream() as stream:
                await response.prepare(request)
                _limit_kernel_buffer(request)
                async for event in stream.events():
                    async with asyncio.timeout(_WRITE_SECONDS):
                        await response.write(event)
            if stream.dropped:
                _abort(request)
        except TooManyStreamsError:
            text = "too many pages are open: close one"
            return web.Response(status=503, text=f"{text}\n", headers={"Retry-After": "5"})
        except TimeoutError:
            _abort(request)
        return response

    async def change(self, request: web.Request) -> web.Response:
        """Make a change, and return the resulting controls."""
        if request.content_type != "application/json":
            return _rejected(415, Rejection("send application/json"))
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await request.read()
            change = msgspec.json.decode(body, type=_CHANGES[request.path])
            await self._desk.apply(change)
        except TimeoutError:
            return _rejected(408, Rejection(f"the body took longer than {_BODY_SECONDS} s"))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _rejected(400, Rejection(str(error)))
        except RejectedChangeError as error:
            return _rejected(422, Rejection(str(error), error.field))
        return _json(200, msgspec.json.encode(self._desk.controls))


def _abort(request: web.Request) -> None:
    """Close the connection of a page that does not read: nothing more can be written to it."""
    if request.transport is not None:
        request.transport.abort()


def _limit_kernel_buffer(request: web.Request) -> None:
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)


def _rejected(status: int, rejection: Rejection) -> web.Response:
    return _json(status, msgspec.json.encode(rejection))


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")
