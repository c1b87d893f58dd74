"""Long pages are parsed where they delay nothing else."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from metrics_server.errors import ScrapeError
from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.inventory import Inventory
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.pod_mapper import Attribution
from metrics_server.sources.pages.parsing import Parser

READINGS = (Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100),)
OTHERS = (Reading("DCGM_FI_DEV_MEM_COPY_UTIL", 0, 100),)
LINE = b"#" * 199 + b"\n"
SHORT = LINE * 400
LONG = LINE * 401


class FakePage(Page):
    """A page that records the threads in which it was parsed, and takes a set time."""

    __slots__ = ("threads", "work")

    def __init__(self, target: str, body: bytes, work: Callable[[], object] = lambda: None) -> None:
        super().__init__(target, body, 0)
        self.work = work
        self.threads: list[str] = []

    def attribution(self, readings: tuple[Reading, ...]) -> Attribution:
        """Parse it, unless this was already done."""
        if not self.is_parsed(readings):
            self.threads.append(threading.current_thread().name)
            self.work()
        return super().attribution(readings)


def busy(seconds: float) -> None:
    """Use this much of the thread's CPU time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def read(
    parser: Parser[Page], *pages: Page, readings: tuple[Reading, ...] = READINGS
) -> list[object]:
    """The outcome for each page."""
    return list((await parser.read({one.target: one for one in pages}, readings)).values())


@pytest.mark.parametrize(
    ("body", "thread"),
    [
        (b"#\n" * 4_096, "MainThread"),
        (b"#\n" * 4_097, "parse_0"),
        (b"#" * 63 + b"\n" + (b"#" * 64 + b"\n") * 999, "MainThread"),
        (b"#" * 63 + b"\n" + (b"#" * 64 + b"\n") * 1000, "parse_0"),
        (SHORT, "MainThread"),
        (LONG, "parse_0"),
        (b"#" * 131_071 + b"\n", "MainThread"),
        (b"#" * 131_072 + b"\n", "parse_0"),
    ],
    ids=[
        "the fewest bytes",
        "few bytes of very many lines",
        "very few bytes",
        "very few bytes of too many lines",
        "few lines",
        "many lines",
        "few bytes",
        "many bytes",
    ],
)
async def test_where_a_page_is_parsed(body: bytes, thread: str) -> None:
    """A short page is parsed at once, a long one in a thread, each only once."""
    parser: Parser[Page] = Parser()
    page = FakePage("a", body)
    for _ in range(2):
        assert await read(parser, page) == [page]
        assert page.is_parsed(READINGS)
    assert page.threads == [thread]
    await read(parser, page, readings=OTHERS)
    assert page.threads == [thread] * 2


async def test_a_long_page_has_its_inventory_first() -> None:
    """The thread does everything, so nothing is left for the event loop."""
    taken: list[tuple[str, bool]] = []

    class Observed(FakePage):
        def inventory(self) -> Inventory:
            taken.append((threading.current_thread().name, self.is_parsed(READINGS)))
            return super().inventory()

    await read(Parser(), Observed("a", LONG))
    assert taken == [("parse_0", False)]


async def test_failures_stay_failures() -> None:
    """Failed scrapes are passed through."""
    error = ScrapeError("did not answer", "timeout")
    outcomes: dict[str, FakePage | ScrapeError] = {"a": error, "b": FakePage("b", SHORT)}
    assert await Parser[FakePage]().read(outcomes, READINGS) == outcomes


async def test_all_callers_share_the_work() -> None:
    """A long page is parsed once, and a caller that gives up does not affect the others."""
    go_on = threading.Event()
    parser: Parser[Page] = Parser(patience=10)
    page = FakePage("a", LONG, go_on.wait)
    impatient, *others = [asyncio.create_task(read(parser, page)) for _ in range(4)]
    await asyncio.sleep(0)
    impatient.cancel()
    go_on.set()
    for answer in others:
        assert await answer == [page]
    assert page.threads == ["parse_0"]


async def test_parsing_that_takes_too_long_is_a_failure() -> None:
    """It is reported, and delays no other page; pages without a waiting caller are not started."""
    go_on = threading.Event()
    parser: Parser[Page] = Parser(patience=0.05)
    slow, queued, short = (
        FakePage("slow", LONG, go_on.wait),
        FakePage("q", LONG),
        FakePage("s", SHORT),
    )
    try:
        failed, late, fine = await read(parser, slow, queued, short)
    finally:
        go_on.set()
    assert fine is short
    for error in (failed, late):
        assert isinstance(error, ScrapeError)
        assert str(error) == "sent a page of 401 lines, which was not parsed within 0.05 s"
        assert error.reason == "too-large"
    page = FakePage("next", LONG)
    async with asyncio.timeout(10):
        while await read(parser, page) != [page]:
            pass
    assert queued.threads == []


@pytest.mark.slow
async def test_exporters_whose_pages_take_long_wait_for_one_another() -> None:
    """From its second page on, such an exporter delays no others, until a page is short again."""
    parser: Parser[Page] = Parser(patience=10)
    heavy = [FakePage("heavy", LONG, lambda: busy(0.15)) for _ in range(3)]
    for page in heavy:
        await read(parser, page)
    assert [page.threads for page in heavy] == [["parse_0"], ["parse-slow_0"], ["parse-slow_0"]]
    blocked = threading.Event()
    waiting = asyncio.create_task(read(parser, FakePage("heavy", LONG, blocked.wait)))
    await asyncio.sleep(0)
    other = FakePage("other", LONG)
    assert await read(parser, other) == [other]
    assert not waiting.done()
    blocked.set()
    await waiting
    light = FakePage("heavy", LONG)
    await read(parser, light)
    assert light.threads == ["parse_0"]


async def test_others_get_their_turn_between_short_pages() -> None:
    """However many there are, the event loop is not held for long."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    pages = [FakePage(str(i), SHORT, lambda: busy(0.003)) for i in range(10)]
    await read(Parser(), *pages)
    counting.cancel()
    assert turns >= 4


async def test_an_error_in_the_thread_is_raised() -> None:
    """A bug in the server is not hidden as an error of the page."""

    def fault() -> None:
        raise LookupError("ours")

    with pytest.raises(LookupError, match="ours"):
        await read(Parser(), FakePage("a", LONG, fault))
