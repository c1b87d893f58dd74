"""A Kubernetes API on loopback, a client of it, and what a real one answered."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from metrics_server.kube.client import KubernetesClient, connect
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import Object
from tests.support.harness import write_kubeconfig

Recording = Callable[[str], Object]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

RECORDINGS = Path(__file__).parent.parent / "data" / "recordings" / "kube-api"


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that answers everything by a handler."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(kubeconfig: Path | None) -> AsyncIterator[KubernetesClient]:
    """A client that is closed after use."""
    client = await connect(kubeconfig)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(scope="session")
def recording() -> Recording:
    """What a real API server answered, by the name of the recording."""
    recordings = {path.stem: json.loads(path.read_bytes()) for path in RECORDINGS.glob("*.json")}
    return lambda name: recordings[name]


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API that sends bookmarks often."""
    async with KubernetesAPI(bookmark_seconds=0.05) as running:
        yield running


@pytest.fixture
async def client(api: KubernetesAPI, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client of that API."""
    async with connected(write_kubeconfig(tmp_path / "kubeconfig", api.url)) as made:
        yield made
