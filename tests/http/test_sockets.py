"""Reasons for failed connections, on real sockets."""

import asyncio
import socket
import ssl

import aiohttp
import pytest
from aiohttp import web

from metrics_server.http.sockets import KeepaliveSockets, why
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import client_context, context_from_pair


async def failure(url: str, context: ssl.SSLContext | None = None) -> str:
    """The error of a GET of this URL."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises((aiohttp.ClientError, OSError)) as raised:
            await session.get(url, ssl=context or True)
    return why(raised.value)


async def test_nobody_listens() -> None:
    """The system's own message, without the objects that aiohttp mentions."""
    assert await failure("http://127.0.0.1:1/") == "Connection refused"


async def test_a_name_that_is_none() -> None:
    """The name is wrong, not the host."""
    text = await failure("http://no-such-host.invalid/")
    assert text.startswith("the host name cannot be resolved: ")
    assert "Errno" not in text


async def test_https_where_there_is_http() -> None:
    """The message suggests the likely mistake, instead of OpenSSL's text."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        text = await failure(f"https://127.0.0.1:{runner.addresses[0][1]}/")
    finally:
        await runner.cleanup()
    assert text == "there is no TLS at this port: is it http rather than https?"


async def test_a_certificate_that_does_not_verify() -> None:
    """The certificate's problem is reported, not a system error number."""
    pair = Authority("a").issue(["127.0.0.1"])
    context = await asyncio.to_thread(context_from_pair, pair)
    client = await asyncio.to_thread(client_context, Authority("b").bundle)

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        told = await failure(f"https://127.0.0.1:{runner.addresses[0][1]}/", client)
    finally:
        await runner.cleanup()
    assert told.startswith("certificate verify failed: ")
    assert "object at" not in told
    assert "_ssl.c" not in told


def test_what_says_nothing_is_named() -> None:
    """An error without a message is reported by its class name."""
    assert why(aiohttp.ServerDisconnectedError()) == ("the connection was closed without an answer")
    assert why(ValueError()) == "ValueError()"


def test_sockets_notice_a_peer_that_is_gone() -> None:
    """The kernel probes a connection that is only read."""
    with KeepaliveSockets()(address_of(1)) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def address_of(port: int) -> tuple[int, int, int, str, tuple[str, int]]:
    """An address in aiohttp's form."""
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)


async def test_no_connection_is_left_over() -> None:
    """Not even one whose peer does not close its TLS."""
    authority = Authority("a")
    context = await asyncio.to_thread(context_from_pair, authority.issue(["127.0.0.1"]))
    client = await asyncio.to_thread(client_context, authority.bundle)
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.Transport] = loop.create_future()

    class Silent(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            accepted.set_result(transport)

    server = await loop.create_server(Silent, "127.0.0.1", 0, ssl=context)
    address = server.sockets[0].getsockname()
    sockets = KeepaliveSockets()
    made = sockets(address_of(address[1]))
    made.settimeout(0)
    await loop.sock_connect(made, address)
    transport, _ = await loop.create_connection(
        asyncio.Protocol, sock=made, ssl=client, server_hostname="127.0.0.1"
    )
    peer = await accepted
    transport.close()
    await sockets.close()
    is_open = made.fileno() != -1
    peer.abort()
    server.close()
    await server.wait_closed()
    assert not is_open
