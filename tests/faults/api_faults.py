"""The ways in which the Kubernetes API can fail, and what each costs an HPA."""

import asyncio

from msgspec import Struct

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
    elif exchange.url.path == "/api/v1/pods":
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
    """Put lines at the start of each watch of pods, which goes on as it should."""

    async def fault(exchange: Exchange) -> None:
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


class ApiFault(Struct, frozen=True):
    """A fault of the Kubernetes API, and what it costs.

    Meanwhile pod a, at 20 %, is deleted; pod b, at 80 %, stays.

    Attributes:
        id: a short name.
        fault: what the API does.
        behave: does it; None for an API that refuses connections.
        at_start: the last words of a server that starts meanwhile, and ends; or what the HPA gets
            from it, where it does start.
        answer: what the HPA gets once the server was out of touch for three minutes, or would have
            been. Until then it gets the value of the pods known last.
        logged: by the path of a watch, how many warnings the fault costs, however long it lasts.
        besides: the other warnings that it costs.
        times: how often it is done before its cost is counted.
        wait: the least time between two attempts, in seconds.
    """

    id: str
    fault: str
    behave: Fault | None
    at_start: str
    answer: str
    logged: frozenset[str] = PATHS
    besides: tuple[str, ...] = ()
    times: int = 12
    wait: float = 0


FAULTS = (
    ApiFault(
        "down",
        "refuses connections",
        None,
        at_start=UNREACHABLE + "Connection refused",
        answer=OLD,
    ),
    ApiFault(
        "resetting",
        "resets every connection",
        resets,
        at_start=UNREACHABLE + "Connection reset by peer",
        answer=OLD,
    ),
    ApiFault(
        "hanging",
        "accepts, and never answers",
        hangs,
        at_start=UNREACHABLE + "it did not answer in time",
        answer=OLD,
        times=6,
    ),
    ApiFault(
        "429",
        "answers 429",
        refuses(429, "too many requests"),
        at_start="too many requests",
        answer=OLD,
    ),
    ApiFault(
        "429-retry-after",
        "answers 429 with Retry-After",
        refuses(429, "too many requests", f"Retry-After: {RETRY_AFTER}\r\n"),
        at_start="too many requests",
        answer=OLD,
        wait=RETRY_AFTER,
    ),
    ApiFault(
        "503-retry-tomorrow",
        "answers 503 with a Retry-After of a day",
        refuses(503, "starting", "Retry-After: 86400\r\n"),
        at_start="starting",
        answer=OLD,
        wait=LONGEST_WAIT,
    ),
    ApiFault(
        "500",
        "answers 500",
        refuses(500, "etcdserver: request timed out"),
        at_start="etcdserver: request timed out",
        answer=OLD,
    ),
    ApiFault(
        "garbage",
        "answers everything by a page of HTML",
        answers_garbage,
        at_start="the ConfigMap kube-system/extension-apiserver-authentication cannot be used: "
        "JSON is malformed: invalid character (byte 0)",
        answer=OLD,
    ),
    ApiFault(
        "garbage-list",
        "cuts watches, and sends lists that are none",
        lists_garbage,
        at_start=UNKNOWN,
        answer=OLD,
    ),
    ApiFault(
        "hanging-list",
        "cuts watches, and never answers lists",
        hangs_at_lists,
        at_start=UNKNOWN,
        answer=OLD,
        times=6,
    ),
    ApiFault(
        "odd-objects",
        "answers watches by 410, and sends lists with objects that are no pods",
        lists_odd_objects,
        at_start="50",
        answer="80",
        besides=("malformed objects skipped",),
    ),
    ApiFault(
        "expired-page",
        "cuts watches, and lets the continue token of each list expire",
        expires_pages,
        at_start=UNKNOWN,
        answer=OLD,
    ),
    ApiFault(
        "dropped-watches",
        "cuts each watch after a second",
        drops_watches,
        at_start="50",
        answer="80",
        logged=frozenset(),
    ),
    ApiFault(
        "silent-watches",
        "opens watches, and sends nothing in them",
        silences_watches,
        at_start="50",
        answer="80",
        logged=frozenset(),
        times=6,
    ),
    ApiFault(
        "429-watch",
        "answers watches by 429",
        refuses_watches(429, "too many requests"),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "500-watch",
        "answers watches by 500",
        refuses_watches(500, "no leader"),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "410-watch",
        "answers watches by 410",
        refuses_watches(410, "too old resource version"),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "410-event",
        "sends an ERROR event of 410 in each watch",
        watch_sends(b'{"type":"ERROR","object":%s}\n' % EXPIRED),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "half-event",
        "sends half an event, and ends the watch",
        watch_sends(HALF),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "half-event-cut",
        "sends half an event, and cuts the connection",
        watch_sends(HALF, end=b""),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "garbage-event",
        "sends what is no event in each watch",
        watch_sends(b"\x00\xff{]\n"),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "garbage-late",
        "sends what is no event in each watch, after a while",
        breaks_watches,
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "added-twice",
        "sends each event twice",
        repeats_events,
        at_start="50",
        answer="80",
        logged=frozenset(),
        times=3,
    ),
    ApiFault(
        "version-back",
        "sends an event of long ago in each watch of pods",
        watch_begins_with(added("a", 1)),
        at_start="50",
        answer="80",
        logged=frozenset({"/api/v1/pods"}),
    ),
)
