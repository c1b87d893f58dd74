"""Watches of a Kubernetes API, line by line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from metrics_server.errors import KubernetesError
from metrics_server.kube.client import MAX_EVENT_BYTES, KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected, serving


@asynccontextmanager
async def streaming(tmp_path: Path, *chunks: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
    """The lines of a watch whose answer is sent in these chunks."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        return response

    async with (
        serving(stream) as url,
        connected(write_kubeconfig(tmp_path / "k", url)) as client,
        client.watch("/api/v1/pods", {"watch": "true"}, silence=5) as lines,
    ):
        yield lines


async def test_lines_do_not_depend_on_chunks(tmp_path: Path) -> None:
    """An event may be cut anywhere, several may arrive at once, and the last may lack its end."""
    async with streaming(tmp_path, b'{"a"', b":1}\n{}\n\n[", b"]\n", b"tail") as lines:
        assert [line async for line in lines] == [b'{"a":1}', b"{}", b"[]", b"tail"]


async def test_a_large_event_is_one_line(tmp_path: Path) -> None:
    """An event of 8 MiB, far above any line buffer, arrives whole."""
    large = b"x" * (8 * 1024 * 1024)
    async with streaming(tmp_path, large + b"\n") as lines:
        assert [len(line) async for line in lines] == [len(large)]


async def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    """A line above the limit does not fill the memory."""
    chunk = b"x" * (MAX_EVENT_BYTES // 4)
    async with streaming(tmp_path, *[chunk] * 5) as lines:
        with pytest.raises(KubernetesError, match="watch event of more than"):
            async for _ in lines:
                pass


async def test_a_dropped_watch_is_reported(client: KubernetesClient, api: KubernetesAPI) -> None:
    """A connection that breaks mid-stream does not end the stream cleanly."""
    async with client.watch("/api/v1/pods", {"watch": "true"}, silence=5) as lines:
        api.faults.drop_watches()
        with pytest.raises(
            KubernetesError,
            match=r"cannot be reached: the connection closed before the end of the answer$",
        ) as caught:
            await anext(lines)
    assert caught.value.code is None


async def test_a_silent_watch_is_reported(client: KubernetesClient) -> None:
    """A connection that is silent for longer than agreed counts as lost."""
    async with client.watch("/api/v1/pods", {"watch": "true"}, silence=0.05) as lines:
        with pytest.raises(KubernetesError, match=r"cannot be reached: it did not answer in time$"):
            await anext(lines)


async def test_a_refused_watch_is_reported(client: KubernetesClient) -> None:
    """An error in answer to a watch is raised before the stream begins."""
    query = {"watch": "true", "labelSelector": "a ==="}
    with pytest.raises(KubernetesError, match="unable to parse requirement") as caught:
        async with client.watch("/api/v1/pods", query, silence=5):
            pass
    assert caught.value.code == 400
