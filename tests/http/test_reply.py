"""The bytes that are sent for a `Reply`."""

from email.utils import parsedate_to_datetime
from time import time

import pytest
from aiohttp import web

from metrics_server.http.reply import Reply
from tests.support.connections import serving
from tests.support.listening import connection, ended, verified

NEAR_SECONDS = 60


async def sent(reply: Reply, request: bytes) -> tuple[list[str], bytes]:
    """The lines of the head, and the body, for a request that ends its connection."""

    async def answer(_: web.BaseRequest) -> Reply:
        return reply

    async with serving(answer) as served, connection(served.port, verified()) as (reader, writer):
        writer.write(request)
        head, _, body = (await ended(reader)).partition(b"\r\n\r\n")
        return head.decode().split("\r\n"), body


def request(line: str, *headers: str) -> bytes:
    """A request with these lines."""
    return "\r\n".join((line, "Host: server", *headers, "", "")).encode()


CLOSING = request("GET / HTTP/1.1", "Connection: close")


async def test_the_head_has_what_a_client_needs() -> None:
    """It has nothing else."""
    reply = Reply(b"hello", "text/plain", status=404, headers=(("ETag", '"1"'), ("Vary", "Accept")))
    (status, *lines), body = await sent(reply, CLOSING)
    assert status == "HTTP/1.1 404 Not Found"
    headers = dict(line.split(": ", 1) for line in lines)
    assert abs(parsedate_to_datetime(headers.pop("Date")).timestamp() - time()) < NEAR_SECONDS
    assert headers == {
        "Content-Length": "5",
        "Content-Type": "text/plain",
        "ETag": '"1"',
        "Vary": "Accept",
        "Connection": "close",
    }
    assert body == b"hello"


async def test_a_status_without_a_body() -> None:
    """304 has neither a body nor a length."""
    (status, *lines), body = await sent(Reply(status=304), CLOSING)
    assert status == "HTTP/1.1 304 Not Modified"
    assert not [line for line in lines if line.startswith("Content-")]
    assert body == b""


async def test_head_gets_no_body() -> None:
    """A client would read it as the next response."""
    (_, *lines), body = await sent(
        Reply(b"hello", status=405), request("HEAD / HTTP/1.1", "Connection: close")
    )
    assert "Content-Length: 5" in lines
    assert body == b""


@pytest.mark.parametrize(("headers", "stays"), [((), False), (("Connection: keep-alive",), True)])
async def test_http_1_0_closes_unless_it_asks_otherwise(
    headers: tuple[str, ...],
    stays: bool,  # noqa: FBT001
) -> None:
    """The response says if a connection stays open."""

    async def answer(_: web.BaseRequest) -> Reply:
        return Reply(b"hello")

    async with serving(answer) as served, connection(served.port, verified()) as (reader, writer):
        writer.write(request("GET / HTTP/1.0", *headers))
        head = await reader.readuntil(b"\r\n\r\n")
        assert (b"\r\nConnection: keep-alive\r\n" in head) is stays
        assert await reader.readexactly(5) == b"hello"
        if stays:
            writer.write(CLOSING)
        assert (b"hello" in await ended(reader)) is stays


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1, 300_000])
async def test_a_long_body_arrives_whole(size: int) -> None:
    """In one piece or in several."""
    whole = bytes(range(251)) * (size // 251 + 1)
    _, body = await sent(Reply(whole[:size]), CLOSING)
    assert body == whole[:size]
