"""Runs one peer against a server process, and queries the server meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import quantiles

import msgspec
from msgspec import Struct

from metrics_server.auth.identity import MASTERS
from metrics_server.simulator import manifests
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS
from tests.faults.process import Scene, scene
from tests.reliability.attacks import METRIC, Peer
from tests.support.forking import PIPE, fork
from tests.support.objects import pod

_CONFIG = "exporters: {maxAge: 50ms, timeout: 1s}\nfallback: {chain: [error]}\n"
# Errors in a peer should appear in the test's own output.
_STDERR = 2
ASKED = ("/livez", "/apis", "question")


class Row(Struct, frozen=True):
    """The measurements beside one peer.

    Attributes:
        p99: by what was asked, how many seconds 99 of 100 answers took at most.
        longest: likewise, for all of them.
        rounds: how often each was asked.
        peak: the server's peak memory, in bytes.
    """

    p99: dict[str, float]
    longest: dict[str, float]
    rounds: int
    peak: int


async def measure(peer: Peer, folder: Path, seconds: float) -> Row:
    """Ask for this many seconds while the peer is active. Every answer must be right."""
    pods = [pod("a", labels={"app": "healthy"})]
    pods += [
        pod(f"pod-{n}", labels={"app": "sick"}, node=f"sick-{n}") for n in range(peer.exporters)
    ]
    async with scene(folder, config=_CONFIG, pods=pods) as here:
        taken: dict[str, list[float]] = {name: [] for name in ASKED}
        async with _at_work(peer, folder, here):
            loop = asyncio.get_running_loop()
            end = loop.time() + seconds
            async with here.as_front_proxy() as proxy:
                who = {"X-Remote-User": "hpa"}
                if peer.api == "reviews":
                    who["X-Remote-Group"] = MASTERS
                while loop.time() < end:
                    for name in ASKED:
                        began = loop.time()
                        if name == "question":
                            answer = await proxy.ask(f"{METRIC}?labelSelector=app%3Dhealthy", who)
                            assert answer.item().value == "10"
                        else:
                            answer = await proxy.ask(name, who)
                            assert answer.status == 200, answer.text
                        taken[name].append(loop.time() - began)
        assert here.server.process.returncode is None
        return Row(
            {name: quantiles(one * 2, n=100)[98] for name, one in taken.items()},
            {name: max(one) for name, one in taken.items()},
            len(taken["/livez"]),
            here.server.peak,
        )


@asynccontextmanager
async def _at_work(peer: Peer, folder: Path, here: Scene) -> AsyncIterator[None]:
    (folder / "server-ca.crt").write_bytes(here.bundle)
    pair = here.trust.front_proxy()
    (folder / "proxy.pem").write_bytes(pair.certificate + pair.key)
    arguments = (peer.name, str(folder), str(here.client.url.port))
    process = await fork("tests.reliability.peers", *arguments, stdout=PIPE, stderr=_STDERR)
    assert process.stdout is not None
    asking: list[asyncio.Task[None]] = []
    try:
        ports = msgspec.json.decode(await process.stdout.readline(), type=list[int])
        for number, port in enumerate(ports):
            here.api.apply(ENDPOINT_SLICES, manifests.endpoint_slice(f"sick-{number}", port))
        if peer.api == "reviews":
            here.trust.reviews.set_fault(Fault("hang"))
        if peer.api == "watches":
            here.api.faults.silence_watches()
        if ports or peer.api:
            asking = [asyncio.create_task(_ask_about_sick(here)) for _ in range(3)]
        yield
    finally:
        for task in asking:
            task.cancel()
        for task in asking:
            with suppress(asyncio.CancelledError):
                await task
        process.kill()
        await process.wait()
        await process.stdout.read()


async def _ask_about_sick(here: Scene) -> None:
    while True:
        await here.client.metric("default", "gpu_utilization", "app=sick")
        here.api.apply(PODS, pod("a", labels={"app": "healthy"}))
        await asyncio.sleep(0.05)
