"""The queries that are sent: their form, number, time and memory."""

import asyncio
import re
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from metrics_server.errors import QueryError
from metrics_server.sources.prometheus.client import PrometheusSettings
from metrics_server.sources.prometheus.pieces import PIECE_BYTES
from tests.support.query_api import VECTOR, client, failure, raw, response, serving
from tests.support.waiting import until


async def test_a_query_as_it_is_sent() -> None:
    """A form-encoded POST to the API below the URL's path, with the settings' extras."""
    seen: list[tuple[str, str, dict[str, list[str]]]] = []
    headers: dict[str, str] = {}

    async def answer(request: web.BaseRequest) -> web.Response:
        form = parse_qs((await request.read()).decode(), strict_parsing=True)
        seen.append((request.method, request.path_qs, form))
        headers.update(request.headers)
        return web.Response(text=VECTOR, content_type="application/json")

    async with serving(answer) as url:
        settings = PrometheusSettings(
            f"{url}/select/0/prometheus/",
            timeout=2.5,
            headers={"X-Scope-OrgID": "team-a|team-b", "Accept-Encoding": "gzip"},
            parameters={"dedup": "true", "partial_response": "true"},
        )
        async with client(settings) as one:
            vector = await one.query('up{pod="ä&b=c"}', time=1_700_000_000.1239)
            await one.query("up")
    assert vector.warnings == ()
    assert dict(vector.series[0].labels) == {"pod": "a"}
    always = {
        "dedup": ["true"],
        "partial_response": ["true"],
        "deny_partial_response": ["1"],
        "timeout": ["2.5"],
    }
    path = "/select/0/prometheus/api/v1/query"
    at = {"query": ['up{pod="ä&b=c"}'], "time": ["1700000000.124"]}
    assert seen == [("POST", path, {**always, **at}), ("POST", path, {**always, "query": ["up"]})]
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert headers["X-Scope-OrgID"] == "team-a|team-b"
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers


async def test_a_server_that_does_not_answer() -> None:
    """The deadline covers every byte, and the query is not sent again."""
    asked = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        begun = web.StreamResponse(headers={"Content-Type": "application/json"})
        await begun.prepare(request)
        while True:
            await begun.write(b" ")
            await asyncio.sleep(0.01)

    async with serving(answer) as url:
        error = await failure(PrometheusSettings(url, timeout=0.2))
    assert error.reason == "timeout"
    assert re.fullmatch(
        r"Prometheus began to answer, but its answer was not complete after 0.2 s "
        r"\(prometheus.timeout; \d+ bytes so far\): it is slow, or the query selects too much",
        str(error),
    )
    assert asked == 1


async def test_how_many_queries_are_sent_at_once() -> None:
    """At most the configured number of queries are; waiting counts toward the timeout."""
    under_way = most = 0
    go_on = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await go_on.wait()
        under_way -= 1
        return web.Response(text=VECTOR, content_type="application/json")

    async with serving(answer) as url:
        settings = PrometheusSettings(url, timeout=30, max_concurrency=2)
        async with client(settings) as one:
            asking = [asyncio.create_task(one.query("up")) for _ in range(5)]
            await until(lambda: under_way == 2)
            go_on.set()
            for each in asking:
                assert len((await each).series) == 1
        assert most == 2
        go_on.clear()
        async with client(PrometheusSettings(url, timeout=0.3, max_concurrency=1)) as one:
            outcomes = await asyncio.gather(
                *(one.query("up") for _ in range(2)), return_exceptions=True
            )
        go_on.set()
    first, second = map(str, outcomes)
    assert first.startswith("Prometheus did not answer within 0.3 s")
    assert second == (
        "Prometheus was not queried within 0.3 s, because 1 other queries were under way "
        "(prometheus.maxConcurrency)"
    )


async def test_a_namespace_leaves_places_to_others() -> None:
    """A namespace's callers can use any number of selectors, each of which may take a query."""
    asked: list[str] = []
    go_on = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.Response:
        query = parse_qs((await request.read()).decode())["query"][0]
        asked.append(query)
        if query == "many":
            await go_on.wait()
        return web.Response(text=VECTOR, content_type="application/json")

    async with (
        serving(answer) as url,
        client(PrometheusSettings(url, timeout=30, max_concurrency=4)) as one,
    ):
        asking = [asyncio.create_task(one.query("many", of="a")) for _ in range(20)]
        await until(lambda: len(asked) == 3)
        assert len((await one.query("few", of="b")).series) == 1
        assert asked == ["many"] * 3 + ["few"]
        go_on.set()
        await asyncio.gather(*asking)


async def test_a_place_is_free_again_after_a_query_that_is_cancelled() -> None:
    """A caller that gives up frees its place."""
    asked = 0
    go_on = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.Response:
        nonlocal asked
        asked += 1
        if asked == 1:
            await go_on.wait()
        return web.Response(text=VECTOR, content_type="application/json")

    async with (
        serving(answer) as url,
        client(PrometheusSettings(url, timeout=30, max_concurrency=1)) as one,
    ):
        asking = asyncio.create_task(one.query("up"))
        await until(lambda: asked == 1)
        asking.cancel()
        assert len((await one.query("up")).series) == 1
        go_on.set()


@pytest.mark.slow
async def test_a_long_answer_leaves_the_event_loop_free() -> None:
    """Other tasks run between its parts, each of which has a bounded length."""
    labels = ",".join(f'"label_{number}":"value-{number}"' for number in range(30))
    one_of_many = f'{{"metric":{{{labels}}},"value":[1,"2"]}}'
    body = VECTOR.replace("[{", f"[{','.join([one_of_many] * 19_999)},{{")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with raw(response(body)) as url, client(PrometheusSettings(url, timeout=60)) as one:
        vector = await one.query("up")
        assert len(vector.series) == 20_000
        counting = asyncio.create_task(count())
        before = turns
        await one._decoded(bytearray(body.encode()))
        during = turns - before
        counting.cancel()
    assert during >= len(body) // PIECE_BYTES


async def test_all_answers_together_are_bounded() -> None:
    """A third long answer besides two others is an error, and the memory is freed after them."""
    sent = 0
    go_on = asyncio.Event()
    series = ",".join([f'{{"metric":{{"a":"{"x" * 2600}"}},"value":[1,"2"]}}'] * 980)
    long = VECTOR.replace("[{", f"[{series},{{").encode()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        begun = web.StreamResponse(headers={"Content-Type": "application/json"})
        await begun.prepare(request)
        await begun.write(long[:-3])
        sent += 1
        await go_on.wait()
        await begun.write_eof(long[-3:])
        return begun

    async with serving(answer) as url:
        settings = PrometheusSettings(url, timeout=30, max_series=1000)
        async with client(settings) as one:
            asking = [asyncio.create_task(one.query("up")) for _ in range(2)]
            await until(lambda: sent == 2)
            await until(lambda: one._room.taken > 4_000_000)
            third = asyncio.create_task(one.query("up"))
            with pytest.raises(QueryError, match="while others took all the memory"):
                await third
            go_on.set()
            for each in asking:
                assert len((await each).series) == 981
            assert len((await one.query("up")).series) == 981
            assert one._room.taken == 0
