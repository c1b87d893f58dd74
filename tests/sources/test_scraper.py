"""Scrapes, on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pytest_aiohttp import AiohttpRawServer
from structlog.testing import capture_logs

from metrics_server.errors import ScrapeError
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor

PAGE = b'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",namespace="n",pod="p"} 42\n'

Serve = Callable[[Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]], Awaitable[str]]


@pytest.fixture
async def serve(aiohttp_raw_server: AiohttpRawServer) -> Serve:
    """Starts this test's exporter and returns its URL."""

    async def start(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> str:
        server = await aiohttp_raw_server(handler)
        return str(server.make_url("/metrics"))

    return start


@pytest.fixture
async def scraper(monitor: Monitor) -> AsyncIterator[Scraper[Page]]:
    """A scraper that waits longer than any machine is busy, and remembers for a minute."""
    async with Scraper(Page, timeout=60, max_age=60, max_concurrency=8, monitor=monitor) as one:
        yield one


async def page(_: web.BaseRequest) -> web.Response:
    """A healthy exporter's answer."""
    return web.Response(body=PAGE, content_type="text/plain", charset="utf-8")


async def failure(scraper: Scraper[Page], url: str) -> ScrapeError:
    """The error of scraping a URL."""
    outcome = (await scraper.scrape([url])).outcomes[url]
    assert isinstance(outcome, ScrapeError)
    return outcome


async def test_a_page(scraper: Scraper[Page], serve: Serve) -> None:
    """A healthy exporter's page is read, and its samples are available."""
    url = await serve(page)
    outcome = (await scraper.scrape([url])).outcomes[url]
    assert isinstance(outcome, Page)
    assert outcome.body == PAGE


async def test_questions_share_a_scrape(scraper: Scraper[Page], serve: Serve) -> None:
    """However many questions there are, at once or within maxAge, an exporter is scraped once."""
    asked = 0

    async def count(request: web.BaseRequest) -> web.Response:
        nonlocal asked
        asked += 1
        return await page(request)

    url = await serve(count)
    await asyncio.gather(*(scraper.scrape([url]) for _ in range(20)))
    await scraper.scrape([url])
    assert asked == 1


async def test_a_scrape_is_repeated_after_max_age(monitor: Monitor, serve: Serve) -> None:
    """A page is scraped again after maxAge."""
    asked = 0

    async def count(request: web.BaseRequest) -> web.Response:
        nonlocal asked
        asked += 1
        return await page(request)

    url = await serve(count)
    async with Scraper(
        Page, timeout=5, max_age=0.01, max_concurrency=8, monitor=monitor
    ) as scraper:
        async with asyncio.timeout(10):
            while asked < 3:
                await scraper.scrape([url])
                await asyncio.sleep(0)
    assert asked == 3


async def test_a_question_given_up_leaves_the_scrape_to_the_others(
    scraper: Scraper[Page], serve: Serve
) -> None:
    """Cancelling one of two questions that share a scrape does not affect the other."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.Response:
        arrived.set()
        await go_on.wait()
        return await page(request)

    url = await serve(wait)
    first = asyncio.create_task(scraper.scrape([url]))
    second = asyncio.create_task(scraper.scrape([url]))
    await arrived.wait()
    first.cancel()
    go_on.set()
    assert isinstance((await second).outcomes[url], Page)
    assert first.cancelled()


async def test_a_failure_costs_no_other_target(scraper: Scraper[Page], serve: Serve) -> None:
    """Each target has its own outcome."""
    good, bad = await serve(page), "http://127.0.0.1:1/metrics"
    outcomes = (await scraper.scrape([good, bad])).outcomes
    assert isinstance(outcomes[good], Page)
    assert isinstance(outcomes[bad], ScrapeError)


async def test_unreachable(scraper: Scraper[Page]) -> None:
    """A refused connection is reported as such."""
    error = await failure(scraper, "http://127.0.0.1:1/metrics")
    assert error.reason == "unreachable"
    assert str(error).startswith("could not be reached: ")


async def test_too_slow(monitor: Monitor, serve: Serve) -> None:
    """An exporter that is silent beyond the timeout is given up, and the timeout is reported."""
    never = asyncio.Event()

    async def hang(_: web.BaseRequest) -> web.Response:
        await never.wait()
        raise AssertionError

    url = await serve(hang)
    async with Scraper(Page, timeout=0.1, max_age=60, max_concurrency=8, monitor=monitor) as hasty:
        error = await failure(hasty, url)
    assert (error.reason, str(error)) == ("timeout", "did not answer within 0.1 s")


@pytest.mark.parametrize("status", [204, 301, 302, 401, 403, 404, 500, 503])
async def test_any_status_but_200(scraper: Scraper[Page], serve: Serve, status: int) -> None:
    """The status is reported; a redirect is not followed."""
    followed = False

    async def answer(request: web.BaseRequest) -> web.Response:
        nonlocal followed
        followed |= request.path != "/metrics"
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    error = await failure(scraper, await serve(answer))
    advice = ", and exporters has no auth for it" if status in (401, 403) else ""
    assert (error.reason, str(error)) == ("http-status", f"answered HTTP {status}{advice}")
    assert not followed


async def test_not_text_by_its_type(scraper: Scraper[Page], serve: Serve) -> None:
    """A page typed as HTML is not a metrics page."""

    async def html(_: web.BaseRequest) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    error = await failure(scraper, await serve(html))
    assert (error.reason, str(error)) == ("not-text", "sent text/html, not text/plain")


async def test_not_text_by_its_bytes(scraper: Scraper[Page], serve: Serve) -> None:
    """Bytes that are not text are not a metrics page, whatever the type."""

    async def binary(_: web.BaseRequest) -> web.Response:
        return web.Response(body=b"\0\1\2\n", content_type="text/plain")

    assert (await failure(scraper, await serve(binary))).reason == "not-text"


async def test_an_empty_page_is_a_page(scraper: Scraper[Page], serve: Serve) -> None:
    """An exporter that has just started answers 200 with nothing, which is a page."""

    async def empty(_: web.BaseRequest) -> web.Response:
        return web.Response(body=b"", content_type="text/plain")

    url = await serve(empty)
    assert isinstance((await scraper.scrape([url])).outcomes[url], Page)


async def test_a_failing_exporter_is_logged_when_it_turns(monitor: Monitor, serve: Serve) -> None:
    """The first failure and the recovery are logged, but not the failures in between."""
    failing = True

    async def sick(request: web.BaseRequest) -> web.Response:
        return web.Response(status=500) if failing else await page(request)

    url = await serve(sick)
    with capture_logs() as logs:
        async with Scraper(
            Page, timeout=5, max_age=1e-9, max_concurrency=8, monitor=monitor
        ) as scraper:
            for _ in range(3):
                await scraper.scrape([url])
            failing = False
            async with asyncio.timeout(10):
                while isinstance((await scraper.scrape([url])).outcomes[url], ScrapeError):
                    pass
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("scrape failed", "warning"),
        ("scrape recovered", "info"),
    ]
    assert (logs[0]["reason"], logs[0]["error"]) == ("http-status", "answered HTTP 500")
    assert {entry["target"] for entry in logs} == {url}


async def test_outcomes_are_counted(
    scraper: Scraper[Page], serve: Serve, registry: CollectorRegistry
) -> None:
    """Each scrape is counted by its outcome."""
    await scraper.scrape([await serve(page), "http://127.0.0.1:1/metrics"])
    for outcome in ("ok", "unreachable"):
        count = registry.get_sample_value(
            "gpu_metrics_server_scrape_duration_seconds_count", {"outcome": outcome}
        )
        assert count == 1
