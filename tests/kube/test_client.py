"""Requests to a Kubernetes API, and their errors."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from metrics_server.errors import KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected, serving


async def test_get_gives_the_body(client: KubernetesClient) -> None:
    """The body of a 2xx is returned unchanged."""
    assert json.loads(await client.get("/version", {}, timeout=5))["minor"] == "36"


async def test_a_query_arrives_as_it_was_given(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    """Any characters in a parameter are encoded on the way out and decoded on the way in."""
    query = {"labelSelector": "a in (b, c),!d", "fieldSelector": "metadata.name=x&y+z%"}
    await client.get("/api/v1/pods", query, timeout=5)
    assert dict(api.requests[-1].query) == query


async def test_a_refusal_has_the_words_of_the_status(client: KubernetesClient) -> None:
    """The error has the API's message, with the status code beside it."""
    with pytest.raises(KubernetesError, match=r'^pods "x" not found$') as caught:
        await client.get("/api/v1/namespaces/default/pods/x", {}, timeout=5)
    assert caught.value.code == 404


async def test_a_refusal_without_a_status_names_the_server(tmp_path: Path) -> None:
    """The error names the server and its status, without a proxy's HTML page."""

    async def proxy_page(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>")

    async with (
        serving(proxy_page) as url,
        connected(write_kubeconfig(tmp_path / "k", url)) as client,
    ):
        with pytest.raises(KubernetesError, match=f"{url} answered 502 Bad Gateway") as caught:
            await client.get("/version", {}, timeout=5)
    assert caught.value.code == 502


async def test_no_answer_has_no_code(tmp_path: Path, unused_tcp_port: int) -> None:
    """The error of a refused connection has the server's address, and no status."""
    kubeconfig = write_kubeconfig(tmp_path / "k", f"http://127.0.0.1:{unused_tcp_port}")
    async with connected(kubeconfig) as client:
        with pytest.raises(KubernetesError, match=f"{unused_tcp_port} cannot be reached") as caught:
            await client.get("/version", {}, timeout=5)
    assert caught.value.code is None


async def test_an_answer_that_does_not_come_ends_in_time(tmp_path: Path) -> None:
    """The timeout covers the whole answer."""

    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with serving(never) as url, connected(write_kubeconfig(tmp_path / "k", url)) as client:
        with pytest.raises(KubernetesError, match="cannot be reached") as caught:
            await client.get("/version", {}, timeout=0.05)
    assert caught.value.code is None


async def test_a_connection_closed_as_idle_is_replaced(tmp_path: Path) -> None:
    """If the API closes a kept connection instead of answering, the request still succeeds."""
    connections = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        # The last one is closed by the client instead.
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n{}")
        writer.close()
        await writer.wait_closed()

    api = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    host, port = api.sockets[0].getsockname()
    kubeconfig = write_kubeconfig(tmp_path / "k", f"http://{host}:{port}")
    async with api, connected(kubeconfig) as client:
        for expected in (1, 2, 3):
            assert await client.send("POST", "/apis", {}, timeout=5) == b"{}"
            assert connections == expected
