"""Work of a whole server: answers over TLS to a front proxy, on loopback.

Only the thread of the server's event loop is counted. The cluster is in another process, the
caller in another thread.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager

from msgspec import Struct

from tests.bench import process, uvloop_runner
from tests.bench.counts.counting import Work
from tests.bench.counts.peers import cluster
from tests.bench.serving import started

_EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
_CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
UTILIZATION = f"{_EXTERNAL}/gpu_utilization?labelSelector=app%3Dinference"
PODS_UTILIZATION = f"{_CUSTOM}/pods/%2A/gpu_utilization?labelSelector=app%3Dinference"
QUEUE = f"{_EXTERNAL}/llm_requests_waiting?labelSelector=app%3Dllm"
_HEADERS = (
    "Host: 127.0.0.1\r\nAccept: */*\r\n"
    "X-Remote-User: system:serviceaccount:kube-system:horizontal-pod-autoscaler\r\n"
    "X-Remote-Group: system:serviceaccounts\r\n\r\n"
)


class Peers(Struct, frozen=True):
    """What a server needs: a Kubernetes API, and its front proxy's certificate."""

    api: str
    certificate: str


@contextmanager
def peers() -> Iterator[Peers]:
    """A cluster in a separate process."""
    with uvloop_runner() as runner:
        stack = AsyncExitStack()
        try:
            api, certificate = runner.run(stack.enter_async_context(process(cluster)))
            yield Peers(api, certificate)
        finally:
            runner.run(stack.aclose())


@contextmanager
def answers(path: str, times: int, max_age: str, around: Peers) -> Iterator[Work]:
    """A server, and the work of answering a question this many times in a row.

    Args:
        path: the question.
        times: how often it is asked.
        max_age: how long the server reuses a page.
        around: the server's cluster.
    """
    with uvloop_runner() as runner, ThreadPoolExecutor(1) as caller:
        stack = AsyncExitStack()
        loop = runner.get_loop()
        try:
            call = runner.run(_server(stack, around, max_age))
            request = f"GET {path} HTTP/1.1\r\n{_HEADERS}".encode()

            async def ask() -> None:
                await loop.run_in_executor(caller, call.ask, request, times)

            yield lambda: loop.run_until_complete(ask())
        finally:
            runner.run(stack.aclose())


async def _server(stack: AsyncExitStack, around: Peers, max_age: str) -> "_Connection":
    """A connection to a server that knows its cluster."""
    config: Mapping[str, object] = {
        # Counting slows the server down, and a busy machine more so.
        "exporters": {"maxAge": max_age, "timeout": "25s"},
        "podPages": {"networks": ["127.0.0.0/8"]},
        "fallback": {"chain": ["error"], "minCoverage": 1.0},
    }
    server = await started(stack, around.api, config)
    connection = await asyncio.to_thread(_Connection, server.url, around.certificate)
    stack.callback(connection.close)
    return connection


class _Connection:
    """A blocking connection to the server."""

    def __init__(self, url: str, certificate: str) -> None:
        host, port = url.removeprefix("https://").split(":")
        context = ssl.create_default_context()
        # Verifying would only take the caller's time.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(certificate)
        self._socket = context.wrap_socket(socket.create_connection((host, int(port))))
        self._file = self._socket.makefile("rb")

    def ask(self, request: bytes, times: int) -> None:
        """Send a request repeatedly, each after the previous answer.

        Raises:
            RuntimeError: an answer is an error.
        """
        for _ in range(times):
            self._socket.sendall(request)
            status, length = self._file.readline(), 0
            while line := self._file.readline().lower().strip():
                name, _, value = line.partition(b": ")
                if name == b"content-length":
                    length = int(value)
            body = self._file.read(length)
            if b" 200 " not in status:
                raise RuntimeError(body.decode())

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._socket.close()
