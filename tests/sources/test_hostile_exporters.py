"""Harmful exporters and a whole server: they must not affect anything else.

Each is a different program on a real socket, scraped by the server itself.
The server must still answer for healthy nodes, and the kubelet's probe, within a second.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest
from structlog.testing import capture_logs

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES
from tests.reliability.attacks import Behave, endless_interim, hang, rows, sends_page
from tests.support.clients import Answer
from tests.support.exporters import page
from tests.support.gpu_labels import gpu_of, shared, wordy
from tests.support.harness import Cluster, cluster, configuration
from tests.support.objects import pod
from tests.support.waiting import Deadline, eventually

pytestmark = pytest.mark.slow

HEALTHY = page({("default", "healthy"): [50]})


@contextmanager
def hostile(behave: Behave) -> Iterator[int]:
    """The port of an exporter that does this on each connection, in its own thread."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        connections: list[socket.socket] = []

        def talk(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                connection.recv(65536)
                behave(connection)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield listener.getsockname()[1]
        # Both ends, so that no thread stays blocked.
        listener.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
    server.join()


@asynccontextmanager
async def beside(count: int, behave: Behave) -> AsyncIterator[Cluster]:
    """A cluster with a healthy node, and this many with hostile exporters, each with a pod."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(hostile(behave)) for _ in range(count)]
        pods = [
            pod("healthy", labels={"app": "healthy"}),
            *(pod(f"pod-{i}", labels={"app": "sick"}, node=f"sick-{i}") for i in range(count)),
        ]
        config = configuration({"exporters": {"timeout": "1s", "maxAge": "50ms"}})
        async with cluster({"gpu-0": HEALTHY}, pods, config) as simulated:
            for number, port in enumerate(ports):
                simulated.api.apply(
                    ENDPOINT_SLICES, manifests.endpoint_slice(f"sick-{number}", port)
                )
            yield simulated


async def sick(simulated: Cluster) -> Answer:
    """The answer for the pods on nodes with hostile exporters."""
    return await simulated.client.metric("default", "gpu_utilization", "app=sick")


async def round_of(simulated: Cluster) -> Mapping[str, float]:
    """The seconds that the probe took, and the answer for healthy nodes."""
    loop = asyncio.get_running_loop()
    took: dict[str, float] = {}
    for target in ("/livez", "healthy"):
        began = loop.time()
        if target == "healthy":
            answer = await simulated.client.metric("default", "gpu_utilization", "app=healthy")
            assert answer.item().value == "50"
        else:
            assert (await simulated.client.ask(target)).status == 200
        took[target] = loop.time() - began
    return took


@pytest.mark.parametrize(
    ("count", "behave", "message"),
    [
        (1, sends_page(partial(rows, 15_000, wordy)), "sent more than 8388608 bytes"),
        (1, sends_page(partial(rows, 60_000, gpu_of)), "sent more than 25000 lines"),
        (8, sends_page(partial(rows, 5_000, gpu_of)), None),
        (1, sends_page(partial(rows, 20_000, shared)), None),
        (2, endless_interim, "its head has more than"),
        (100, hang, "did not answer within 1 s"),
    ],
    ids=["bytes", "lines", "rows", "sharers", "interim", "hung"],
)
async def test_nobody_else_notices(count: int, behave: Behave, message: str | None) -> None:
    """The probe, and answers for healthy nodes, arrive promptly every time."""
    deadline = Deadline()
    async with beside(count, behave) as simulated:

        async def known() -> Answer:
            return await sick(simulated)

        await eventually(known, lambda answer: "no exporter" not in answer.text)
        longest: dict[str, float] = {}
        asking = [asyncio.create_task(sick(simulated)) for _ in range(3)]
        for _ in range(10):
            for target, seconds in (await round_of(simulated)).items():
                longest[target] = max(longest.get(target, 0), seconds)
            asking = [
                asyncio.create_task(sick(simulated)) if task.done() else task for task in asking
            ]
        answers = await asyncio.gather(*asking)
        for answer in answers:
            assert message is None or message in answer.error().message
    allowed = deadline.seconds()
    assert all(seconds < allowed for seconds in longest.values()), (longest, allowed)


async def test_what_a_page_says_is_reported_on_one_printable_line() -> None:
    """A label may contain anything: the message has its beginning, escaped."""
    namespace = "\x1b[31m\\n" + "x" * 60_000
    labels = f'gpu="0",UUID="GPU-0",namespace="{namespace}",pod="pod-0"'
    async with beside(1, sends_page(lambda: rows(1, lambda _: labels))) as simulated:

        async def asked() -> Answer:
            return await sick(simulated)

        with capture_logs() as logs:
            answer = await eventually(asked, lambda one: "no exporter" not in one.text)
        message = answer.error().message
    assert "pod-0, but not in namespace" in message
    (namespaces,) = (str(one["namespaces"]) for one in logs if "namespaces" in one)
    assert namespaces.startswith(r"\x1b[31m\nxxx")
    for text in (message, namespaces):
        assert text.isprintable()
        assert len(text) < 700
