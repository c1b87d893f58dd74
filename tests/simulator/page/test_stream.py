"""The stream of moments: what a page receives on connecting and later."""

import asyncio
import socket
from contextlib import AsyncExitStack

import aiohttp
from msgspec import structs

from metrics_server.simulator.page.broadcast import MOST_STREAMS
from metrics_server.simulator.page.wire import End, Moment, Past, Setup
from tests.simulator.page.conftest import SYNC, Event, Stage, Visitor, events
from tests.simulator.test_screen import MOMENT
from tests.support.waiting import eventually


async def first(response: aiohttp.ClientResponse, count: int) -> list[Event]:
    """The next events of a stream."""
    found: list[Event] = []
    async with asyncio.timeout(5):
        async for event in events(response):
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_a_page_receives_what_happened_and_what_happens(stage: Stage) -> None:
    """First constants, then the recent past, then each moment."""
    error = structs.replace(MOMENT, utilization=None, source="error", pods="")
    await stage.page.show(structs.replace(MOMENT, seconds=3), SYNC)
    await stage.page.show(MOMENT, SYNC)
    async with stage.visitor.session.get(stage.visitor.url + "events") as response:
        assert response.content_type == "text/event-stream"
        setup, past = await first(response, 2)
        await stage.page.show(structs.replace(error, seconds=5), SYNC)
        (moment,) = await first(response, 1)
    assert [setup.name, past.name, moment.name] == ["setup", "past", "moment"]
    assert setup.read(Setup).metric == "gpu_utilization"
    assert setup.read(Setup).gpus_per_node == 4
    before = past.read(Past)
    assert [point.seconds for point in before.points] == [3, 4.2]
    assert before.moment is not None
    assert before.moment.verdict.reason == MOMENT.reason
    point = moment.read(Moment).point
    assert (point.source, point.values["value"]) == ("error", None)


async def test_the_steps_of_the_loop(stage: Stage) -> None:
    """Load, utilization, answer, decision, replicas; without a value, no number."""
    await stage.page.show(MOMENT, SYNC)
    async with stage.visitor.session.get(stage.visitor.url + "events") as response:
        _, past = await first(response, 2)
    shown = past.read(Past).moment
    assert shown is not None
    load, utilization, answer, decision, replicas = shown.steps
    assert (load.name, load.value, load.unit) == ("Load", "5.4", "GPUs")
    # There is no server here, so no pod is measured.
    assert (utilization.value, utilization.note) == ("", "no pod is measured")
    assert (answer.value, answer.source) == ("90", "exporters")
    assert (decision.value, decision.note) == ("6 → 8", MOMENT.reason)
    assert (replicas.name, replicas.value, replicas.unit) == ("Replicas", "6", "of 8 Ready")


async def test_news_is_what_scales_or_has_another_source(stage: Stage) -> None:
    """A page that connects later receives only decisions that are news."""
    stays = structs.replace(SYNC, replicas=8)
    known = structs.replace(MOMENT, source="last-known")
    for moment, sync in [(MOMENT, SYNC), (MOMENT, stays), (known, stays), (known, stays)]:
        await stage.page.show(moment, sync)
    async with stage.visitor.session.get(stage.visitor.url + "events") as response:
        _, past = await first(response, 2)
    verdicts = past.read(Past).verdicts
    assert [(v.before, v.source) for v in verdicts] == [(6, "exporters"), (8, "last-known")]


async def test_the_end_is_an_event(stage: Stage) -> None:
    """It has the summary, and the stream ends."""
    async with stage.visitor.session.get(stage.visitor.url + "events") as response:
        stage.page.end([SYNC])
        *_, end = [event async for event in events(response)]
    assert end.name == "end"
    assert "The HPA requested the metric once" in end.read(End).summary


async def test_an_end_before_the_first_sync(stage: Stage) -> None:
    """There is nothing to sum up."""
    async with stage.visitor.session.get(stage.visitor.url + "events") as response:
        stage.page.end([])
        *_, end = [event async for event in events(response)]
    assert "ended before the HPA's first request" in end.read(End).summary


async def test_streams_are_bounded(visitor: Visitor) -> None:
    """One too many is rejected, with the time to wait; closing one makes room."""
    url = visitor.url + "events"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(session.get(url)) for _ in range(MOST_STREAMS)]
        assert {response.status for response in opened} == {200}
        async with session.get(url) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        opened[0].close()

        async def status() -> int:
            async with session.get(url) as response:
                return response.status

        await eventually(status, lambda found: found == 200)


async def test_a_page_that_does_not_read_is_dropped(stage: Stage) -> None:
    """It uses limited memory, and the others still receive each moment."""
    host, port = "127.0.0.1", int(stage.page.url.rstrip("/").rpartition(":")[2])
    long = structs.replace(MOMENT, reason="x" * 100_000)
    sync = structs.replace(SYNC, decision=structs.replace(SYNC.decision, reason=long.reason))
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with deaf:
        deaf.setblocking(False)  # noqa: FBT003 - the socket's own interface
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, (host, port))
        request = f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
        await loop.sock_sendall(deaf, request.encode())
        async with stage.visitor.session.get(
            stage.visitor.url + "events", read_bufsize=2**20
        ) as response:
            await first(response, 2)
            for _ in range(60):
                await stage.page.show(long, sync)
                (moment,) = await first(response, 1)
                assert moment.name == "moment"

        async def received() -> bytes:
            try:
                return await loop.sock_recv(deaf, 65536)
            except ConnectionError:
                return b""

        # It is cut off before it has read everything.
        await eventually(received, lambda data: data == b"")
