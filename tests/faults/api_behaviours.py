"""What a Kubernetes API does when it fails."""

import asyncio

from tests.faults.api_proxy import Exchange, Fault, chunk, status_object
from tests.faults.raw import reset

PATHS = frozenset(
    {
        "/api/v1/pods",
        "/apis/discovery.k8s.io/v1/endpointslices",
        "/api/v1/namespaces/kube-system/configmaps",
        "/apis/autoscaling/v2/horizontalpodautoscalers",
    }
)
RETRY_AFTER = 7
LONGEST_WAIT = 30


async def hangs(exchange: Exchange) -> None:
    """Take the request, and never answer."""
    await exchange.reader.read()


async def resets(exchange: Exchange) -> None:
    """End the connection without an answer."""
    reset(exchange.writer)


def refuses(status: int, message: str, headers: str = "") -> Fault:
    """Answer everything by a Status."""

    async def fault(exchange: Exchange) -> None:
        await exchange.refuse(status, message, headers)

    return fault


async def answers_garbage(exchange: Exchange) -> None:
    """Answer everything by what is no JSON."""
    await exchange.respond(200, b"<html>\n<body>\n")


async def lists_garbage(exchange: Exchange) -> None:
    """Answer lists by what is no list, and end every watch."""
    if exchange.is_watch:
        reset(exchange.writer)
    elif exchange.url.path in PATHS:
        await exchange.respond(200, b'{"items": 7}')
    else:
        await exchange.pass_on()


async def hangs_at_lists(exchange: Exchange) -> None:
    """Never answer a list, and end every watch."""
    if exchange.is_watch:
        reset(exchange.writer)
    elif exchange.url.path in PATHS:
        await exchange.reader.read()
    else:
        await exchange.pass_on()


async def lists_odd_objects(exchange: Exchange) -> None:
    """Put what is no pod into each list, and have every watch begin with a list."""
    if exchange.is_watch:
        await exchange.refuse(410, "too old resource version")
    # Only into the first page: the fault may end between two pages, and all lists have as many.
    elif exchange.url.path == "/api/v1/pods" and "continue" not in exchange.url.query:
        body = (await (await exchange.upstream()).read()).partition(b"\r\n\r\n")[2]
        await exchange.respond(200, body.replace(b'"items":[', b'"items":[7,{"spec":[]},'))
    else:
        await exchange.pass_on()


async def expires_pages(exchange: Exchange) -> None:
    """Refuse every page but the first, and end every watch."""
    if exchange.is_watch:
        reset(exchange.writer)
    elif "continue" in exchange.url.query:
        await exchange.refuse(410, "The provided continue parameter is too old")
    else:
        await exchange.pass_on()


async def drops_watches(exchange: Exchange) -> None:
    """Cut each watch after a while."""
    if not exchange.is_watch:
        await exchange.pass_on()
        return
    try:
        # Longer than what counts as brief here.
        async with asyncio.timeout(0.15):
            await exchange.pass_on()
    except TimeoutError:
        reset(exchange.writer)


async def silences_watches(exchange: Exchange) -> None:
    """Open each watch, and send nothing in it."""
    if exchange.is_watch:
        await exchange.stream()
        await exchange.reader.read()
    else:
        await exchange.pass_on()


async def breaks_watches(exchange: Exchange) -> None:
    """Send what is no event in each watch, after a while."""
    if not exchange.is_watch:
        await exchange.pass_on()
        return
    try:
        async with asyncio.timeout(0.1):
            await exchange.pass_on()
    except TimeoutError:
        exchange.writer.write(chunk(b"garbage\n"))
        await exchange.writer.drain()


async def repeats_events(exchange: Exchange) -> None:
    """Send each event twice."""
    if not exchange.is_watch:
        await exchange.pass_on()
        return
    answer = await exchange.upstream()
    exchange.writer.write(await answer.readuntil(b"\r\n\r\n"))
    while size := int(await answer.readuntil(b"\r\n"), 16):
        exchange.writer.write(chunk((await answer.readexactly(size + 2))[:-2]) * 2)
        await exchange.writer.drain()


def refuses_watches(status: int, message: str) -> Fault:
    """Answer each watch by a Status."""

    async def fault(exchange: Exchange) -> None:
        if exchange.is_watch:
            await exchange.refuse(status, message)
        else:
            await exchange.pass_on()

    return fault


def watch_sends(line: bytes, end: bytes = b"0\r\n\r\n") -> Fault:
    """Answer each watch by just this, then end it; without an end, as a lost connection does."""

    async def fault(exchange: Exchange) -> None:
        if not exchange.is_watch:
            await exchange.pass_on()
            return
        await exchange.stream(line)
        exchange.writer.write(end)
        await exchange.writer.drain()

    return fault


def watch_begins_with(*lines: bytes) -> Fault:
    """Put lines at the start of each watch of pods, which goes on as it should.

    Lists are not streamed: what comes with them may be of any version.
    """

    async def fault(exchange: Exchange) -> None:
        if "sendInitialEvents" in exchange.url.query:
            await exchange.refuse(422, "sendInitialEvents is forbidden")
            return
        begins = exchange.is_watch and exchange.url.path == "/api/v1/pods"
        await exchange.pass_on(b"".join(lines) if begins else b"")

    return fault


def added(name: str, version: int) -> bytes:
    """A watch event by which a pod is added; it requests no GPU, and is not Ready."""
    return (
        b'{"type":"ADDED","object":{"metadata":{"name":"%s","namespace":"default",'
        b'"labels":{"app":"inference"},"resourceVersion":"%d"},"spec":{},"status":{}}}\n'
        % (name.encode(), version)
    )


EXPIRED = status_object(410, "too old resource version: 1 (7)")
HALF = b'{"type":"MODIFIED","object":{"metadata":{"name":"a","names'

UNREACHABLE = "the Kubernetes API at URL cannot be reached: "
UNKNOWN = (
    "503 the pods of the cluster are not known yet: the server has just started, or it cannot list "
    "them from the Kubernetes API; /readyz and its log say which"
)
OLD = (
    "503 the pods may be out of date: the server has heard nothing from the Kubernetes API for "
    "N seconds; /readyz and its log say why"
)

# What the HPA gets of a server that starts during a fault, where it does start.
STARTED = ("50", UNKNOWN)
