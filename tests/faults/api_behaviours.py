"""The ways in which a Kubernetes API fails."""

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
    """Accept the request, and never answer."""
    await exchange.reader.read()


async def resets(exchange: Exchange) -> None:
    """Reset the connection without an answer."""
    reset(exchange.writer)


def refuses(status: int, message: str, headers: str = "") -> Fault:
    """Answer everything with a Status."""

    async def fault(exchange: Exchange) -> None:
        await exchange.refuse(status, message, headers)

    return fault


async def answers_garbage(exchange: Exchange) -> None:
    """Answer everything with invalid JSON."""
    await exchange.respond(200, b"<html>\n<body>\n")


async def lists_garbage(exchange: Exchange) -> None:
    """Answer lists with something else, and end every watch."""
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
    """Put objects that are not pods in each list, and start every watch with a list."""
    if exchange.is_watch:
        await exchange.refuse(410, "too old resource version")
    # Only in the first page: the fault may end between two pages, and all lists have as many.
    elif exchange.url.path == "/api/v1/pods" and "continue" not in exchange.url.query:
        body = (await (await exchange.upstream()).read()).partition(b"\r\n\r\n")[2]
        await exchange.respond(200, body.replace(b'"items":[', b'"items":[7,{"spec":[]},'))
    else:
        await exchange.pass_on()


async def expires_pages(exchange: Exchange) -> None:
    """Reject every page but the first, and end every watch."""
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
        # Much longer than what counts as brief here, even on a busy machine.
        async with asyncio.timeout(0.4):
            await exchange.pass_on()
    except TimeoutError:
        reset(exchange.writer)


async def silences_watches(exchange: Exchange) -> None:
    """Open each watch, and send nothing."""
    if exchange.is_watch:
        await exchange.stream()
        await exchange.reader.read()
    else:
        await exchange.pass_on()


async def breaks_watches(exchange: Exchange) -> None:
    """Send an invalid event in each watch, after a while."""
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
    """Answer each watch with a Status."""

    async def fault(exchange: Exchange) -> None:
        if exchange.is_watch:
            await exchange.refuse(status, message)
        else:
            await exchange.pass_on()

    return fault


def watch_sends(line: bytes, end: bytes = b"0\r\n\r\n") -> Fault:
    """Send only this in each watch, then end it; without an end, like a lost connection."""

    async def fault(exchange: Exchange) -> None:
        if not exchange.is_watch:
            await exchange.pass_on()
            return
        await exchange.stream(line)
        exchange.writer.write(end)
        await exchange.writer.drain()

    return fault


def watch_begins_with(*lines: bytes) -> Fault:
    """Insert lines at the start of each watch of pods, which then continues.

    Lists are not streamed: their events may have any version.
    """

    async def fault(exchange: Exchange) -> None:
        if "sendInitialEvents" in exchange.url.query:
            await exchange.refuse(422, "sendInitialEvents is forbidden")
            return
        begins = exchange.is_watch and exchange.url.path == "/api/v1/pods"
        await exchange.pass_on(b"".join(lines) if begins else b"")

    return fault


def added(name: str, version: int) -> bytes:
    """A watch event that adds a pod; it requests no GPU, and is not Ready."""
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

# What the HPA gets from a server that starts during a fault, if it does start.
STARTED = ("50", UNKNOWN)
