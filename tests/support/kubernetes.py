"""Clients of a Kubernetes API, and servers that act as one."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from yarl import URL

from metrics_server.kube.client import KubernetesClient, connect
from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.harness import kubernetes_api, write_kubeconfig

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that answers everything with a handler."""
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


@asynccontextmanager
async def kubernetes(folder: Path) -> AsyncIterator[tuple[KubernetesAPI, KubernetesClient]]:
    """A Kubernetes API over TLS, and its client."""
    async with (
        kubernetes_api() as (api, authority),
        connected(write_kubeconfig(folder / "kubeconfig", api.url, authority.bundle)) as client,
    ):
        yield api, client


@asynccontextmanager
async def gone(api: KubernetesAPI) -> AsyncIterator[None]:
    """Stop an API; its port then refuses connections, as no other test's server can get it."""
    url = URL(api.url)
    await api.__aexit__()
    with socket.socket() as held:
        # Its last connections may still be closing.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((url.host, url.port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        yield
