"""Every kind of fault, and the seeded random process that injects them.

A fault is an asynchronous context manager: it lasts as long as the context, and is cleared after.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

from msgspec import structs

from tests.soak import api as api_faults
from tests.soak.exporter import BEHAVIOURS
from tests.soak.hostile import ATTACKS, Stranger
from tests.soak.stage import Stage
from tests.soak.world import MOST_PODS

_LEAST_SECONDS, _MOST_SECONDS = 3.0, 20.0

Fault = Callable[[Stage, Random], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def exporters_fail(stage: Stage, rng: Random) -> AsyncIterator[str]:
    """Some exporters misbehave in one way."""
    behaviour = rng.choice(sorted(BEHAVIOURS))
    nodes = rng.sample(sorted(stage.world.exporters), rng.choice((1, 1, 2, 4, 8)))
    for node in nodes:
        await stage.world.exporters[node].behave(behaviour)
    try:
        yield f"exporter {behaviour}"
    finally:
        for node in nodes:
            await stage.world.exporters[node].behave("")


@asynccontextmanager
async def exporter_leaves(stage: Stage, rng: Random) -> AsyncIterator[str]:
    """An exporter disappears, and comes back at another address."""
    node = rng.choice(sorted(stage.world.exporters))
    stage.world.withdraw(node)
    try:
        yield "exporter gone and back elsewhere"
    finally:
        await stage.world.exporters[node].move()
        stage.world.announce(node)


@asynccontextmanager
async def exporter_flaps(stage: Stage, rng: Random) -> AsyncIterator[str]:
    """An exporter alternately fails and recovers."""
    exporter = stage.world.exporters[rng.choice(sorted(stage.world.exporters))]

    async def flap() -> None:
        while True:
            await exporter.behave(rng.choice(sorted(BEHAVIOURS)))
            await asyncio.sleep(rng.random())
            await exporter.behave("")
            await asyncio.sleep(rng.random())

    async with _meanwhile(flap()):
        yield "exporter flaps"
    await exporter.behave("")


@asynccontextmanager
async def pods_change(stage: Stage, rng: Random) -> AsyncIterator[str]:
    """Pods come, go, drain, lose readiness, move, and change their load."""
    world = stage.world

    async def change() -> None:
        numbers = iter(range(100, 10_000))
        while True:
            await asyncio.sleep(rng.random())
            app = rng.choice(world.apps)
            pods = world.of(app)
            pod = rng.choice(pods) if pods else None
            match rng.choice(("come", "drain", "go", "recreate", "unready", "reload", "reload")):
                case "come" if len(pods) < MOST_PODS:
                    world.put(world.new(app, f"{app.name}-{next(numbers)}"))
                case "go" if pod and len(pods) > 1:
                    world.remove(pod)
                case "recreate" if pod:
                    world.remove(pod)
                    world.put(world.new(app, pod.name))
                case "drain" if pod and len(pods) > 1:
                    pod = structs.replace(pod, terminating=True)
                    world.put(pod)
                    await asyncio.sleep(rng.random() * 2)
                    pod = structs.replace(pod, works=False)
                    world.put(pod)
                    await asyncio.sleep(rng.random() * 2)
                    world.remove(pod)
                case "unready" if pod and not pod.terminating:
                    world.put(structs.replace(pod, ready=not pod.ready))
                case "reload" if pod:
                    world.put(world.reloaded(pod))

    async with _meanwhile(change()):
        yield "pods come, drain and go"


@asynccontextmanager
async def api_fails(stage: Stage, rng: Random) -> AsyncIterator[str]:
    """Every request to the Kubernetes API fails in one way, and watches end."""
    stage.world.pods_known = False
    fault = rng.choice(api_faults.FAULTS)
    stage.api.fail(fault, revived=rng.random() < 0.5)
    stage.api.faults.drop_watches()
    try:
        yield f"Kubernetes API {fault}"
    finally:
        stage.api.recover()


@asynccontextmanager
async def reviews_fail(stage: Stage, rng: Random) -> AsyncIterator[str]:
    """Only reviews fail."""
    fault = rng.choice(api_faults.FAULTS)
    stage.api.fail(fault, api_faults.REVIEWS, revived=rng.random() < 0.5)
    try:
        yield f"a review {fault}"
    finally:
        stage.api.recover()


@asynccontextmanager
async def watches_fail(stage: Stage, rng: Random) -> AsyncIterator[str]:
    """Watches are repeatedly dropped, expire, or carry unreadable events."""
    stage.world.pods_known = False
    api = stage.api
    kinds: dict[str, Callable[[], None]] = {
        "dropped": api.faults.drop_watches,
        "expired (410)": lambda: api.faults.fail_watches(410, "too old resource version"),
        "expired after compaction": api.expire_watches,
        "given half an event": api.halve_an_event,
        "given garbage": lambda: api.faults.send_to_watches(b"\x00\xff}{ garbage\n"),
        "given an error 500": lambda: api.faults.fail_watches(500, "etcdserver: leader changed"),
    }
    kind = rng.choice(sorted(kinds))
    pause = rng.choice((0.2, 1, 3))

    async def fail() -> None:
        while True:
            kinds[kind]()
            await asyncio.sleep(pause)

    async with _meanwhile(fail()):
        yield f"watches {kind}"


@asynccontextmanager
async def watches_are_silent(stage: Stage, _: Random) -> AsyncIterator[str]:
    """Watches stay open, but report no changes."""
    stage.world.pods_known = False
    stage.api.silence_watches()
    try:
        yield "watches silent"
    finally:
        stage.api.faults.drop_watches()


@asynccontextmanager
async def pair_rotates(stage: Stage, _: Random) -> AsyncIterator[str]:
    """The serving pair's files are broken for a while, and then contain a new pair."""
    certificate = stage.folder / "tls.crt"
    await asyncio.to_thread(certificate.write_bytes, b"-----BEGIN CERTIFICATE-----\nbroken\n")
    try:
        yield "serving pair rotated"
    finally:
        pair = stage.authority.issue(["127.0.0.1"])
        await asyncio.to_thread((stage.folder / "tls.key").write_bytes, pair.key)
        await asyncio.to_thread(certificate.write_bytes, pair.certificate)


@asynccontextmanager
async def caller_attacks(stage: Stage, rng: Random) -> AsyncIterator[str]:
    """A hostile caller is active."""
    name = rng.choice(sorted(ATTACKS))
    stranger = Stranger(stage.log.url, stage.anonymous, stage.proxy, rng)
    async with _meanwhile(ATTACKS[name](stranger)):
        yield f"caller: {name}"


# Drawn at random; kinds with many variants are listed more than once.
FAULTS: Sequence[Fault] = (
    *(exporters_fail,) * 4,
    *(caller_attacks,) * 4,
    *(pods_change,) * 3,
    *(api_fails, reviews_fail, watches_fail) * 2,
    exporter_leaves,
    exporter_flaps,
    watches_are_silent,
    pair_rotates,
)


async def inject(stage: Stage, rng: Random, seconds: float) -> None:
    """Inject several faults; all are cleared after this many seconds."""

    async def one(number: int, rng: Random) -> None:
        # The first begins at once; the others overlap with it and each other.
        length = min(seconds, rng.uniform(_LEAST_SECONDS, _MOST_SECONDS))
        await asyncio.sleep(rng.random() * (seconds - length) * (number > 0))
        async with rng.choice(FAULTS)(stage, rng) as name:
            stage.injected[name] += 1
            await asyncio.sleep(length)

    async with asyncio.TaskGroup() as group:
        for number in range(rng.randint(2, 7)):
            own = Random(rng.random())  # noqa: S311 - nothing is to be secret
            group.create_task(one(number, own))
    stage.world.settle()


@asynccontextmanager
async def _meanwhile(doing: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine for the duration of the context."""
    task = asyncio.create_task(doing)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            raise error
