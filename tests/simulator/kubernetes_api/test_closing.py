"""Connections that are open when the simulated API closes."""

import asyncio
import socket
from contextlib import suppress

import pytest

from metrics_server.simulator.kube.api import KubernetesAPI


@pytest.mark.parametrize("turns", range(5))
async def test_it_closes_a_connection_that_it_has_just_accepted(turns: int) -> None:
    """Its client does not wait for an answer, however far the event loop has got with it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.settimeout(0)
        async with KubernetesAPI() as api:
            with suppress(BlockingIOError):
                client.connect(("127.0.0.1", int(api.url.rpartition(":")[2])))
            for _ in range(turns):
                await asyncio.sleep(0)
        async with asyncio.timeout(5):
            with suppress(ConnectionResetError):
                assert await loop.sock_recv(client, 1) == b""
