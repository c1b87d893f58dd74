"""Requests with bodies, which are never used: they are answered, and not reset."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.process import Scene, scene
from tests.support.peers import HOST, cut, trusting

pytestmark = pytest.mark.slow

LARGE = 200 * 1024


def request(method: str, *headers: str) -> bytes:
    """The head of a request."""
    lines = (f"{method} /livez HTTP/1.1", "Host: here", *headers, "", "")
    return "\r\n".join(lines).encode()


def chunked(size: int) -> bytes:
    """A body in chunks."""
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    return chunk * (size // 0x4000) + b"0\r\n\r\n"


async def status(here: Scene, data: bytes) -> int:
    """The answer's status; the connection is closed after it."""
    answer = await here.client.send(data)
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    # The final answer, after 100 Continue.
    final = answer.rpartition(b"HTTP/1.1 ")[2]
    assert b"\r\nConnection: close\r\n" in final
    return int(final[:3])


async def test_a_body_is_answered(tmp_path: Path) -> None:
    """405 or 413 if the method takes none; ignored for a GET."""
    async with scene(tmp_path) as here:
        for size in (LARGE, 900 * 1024):
            length = f"Content-Length: {size}"
            for method, expected in (("POST", {405, 413}), ("PUT", {405, 413}), ("GET", {200})):
                whole = request(method, length) + b"x" * size
                assert await status(here, whole) in expected, (method, size)
                pieces = request(method, "Transfer-Encoding: chunked") + chunked(size)
                assert await status(here, pieces) in expected, (method, size)
            waits = request("POST", length, "Expect: 100-continue")
            assert await status(here, waits) in {405, 413}
            assert await status(here, waits + b"x" * size) in {405, 413}
        assert await here.value() == "10"
        assert here.server.events("error") == []


@pytest.mark.parametrize("head", ["Content-Length: 4194304", "Transfer-Encoding: chunked"])
async def test_a_body_without_end(tmp_path: Path, head: str) -> None:
    """At most 1 MiB is read; clients that read while they write get the answer before."""
    async with scene(tmp_path) as here:
        size = 4 * 1024 * 1024
        body = chunked(size) if "chunked" in head else b"x" * size
        reader, writer = await asyncio.open_connection(
            HOST, here.client.url.port, ssl=trusting(here.bundle)
        )
        writer.write(request("POST", head) + body)
        async with asyncio.timeout(5):
            assert (await reader.readline()).split()[1] in {b"405", b"413"}
            with suppress(OSError):
                await reader.read()  # until the connection ends
        cut(writer)
        assert (await here.client.ask("/livez")).text == "ok"
