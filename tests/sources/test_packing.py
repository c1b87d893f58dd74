"""Pages whose texts are compressed answer as before."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.packing import Packer
from metrics_server.sources.pages.room import PageRoom, Room
from metrics_server.sources.pages.text import Text
from metrics_server.sources.pods.page import PodPage
from tests.support.data import EXPORTERS
from tests.support.waiting import until

PAGES = sorted(EXPORTERS.glob("*.prom"))


class Watched:
    """A page that notes whether it is compressed, and in which thread."""

    def __init__(self) -> None:
        self.thread = ""

    def pack(self) -> None:
        """Note it."""
        self.thread = threading.current_thread().name


def room_of(size: int) -> PageRoom:
    """The room of a page of this size."""
    room = PageRoom(Room(10_000_000))
    assert room.grow(size)
    return room


@given(st.binary(max_size=200), st.lists(st.booleans(), max_size=6))
def test_a_text_stays_the_same(text: bytes, packs: list[bool]) -> None:
    """However often it is compressed and read."""
    kept = Text(text)
    for pack in packs:
        if pack:
            kept.pack()
        else:
            assert kept.read() == text
    assert kept.read() == text


def test_a_text_takes_less_memory() -> None:
    """Until it is read again."""
    text = PAGES[0].read_bytes() * 10
    kept = Text(text)
    kept.pack()
    assert kept._text is None
    assert len(kept._packed) < len(text) / 10
    assert kept.read() == kept._text == text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.name))
def test_a_compressed_page_has_the_same_values(path: Path) -> None:
    """For each metric, whichever of them was asked for before, and the same inventory."""
    body = path.read_bytes()
    for rule in CATALOGUE[:6]:
        page, whole = Page("a", body, 0.0), Page("a", body, 0.0)
        page.attribution(CATALOGUE[0].readings)
        page.pack()
        assert page.attribution(rule.readings) == whole.attribution(rule.readings)
        page.pack()
        assert page.inventory() == whole.inventory()
        assert (page.body, page.lines) == (body, body.count(b"\n"))


def test_a_pods_own_page() -> None:
    """The same."""
    page = PodPage("a", b'up{a="b"} 1\n', 0.0)
    page.pack()
    assert [row.value for row in page.rows("up")] == [1]


async def test_the_oldest_are_compressed_in_a_thread() -> None:
    """As soon as all of them take too much, and only as many as it takes to be below that."""
    packer: Packer[Watched] = Packer(max_bytes=40_000)
    pages = [Watched() for _ in range(60)]
    rooms = [room_of(1000) for _ in pages]
    for room, page in zip(rooms[:40], pages, strict=False):
        packer.add(room, page)
    for room in rooms[:10]:
        packer.remove(room)
    for room, page in zip(rooms[40:50], pages[40:50], strict=True):
        packer.add(room, page)
    assert not any(page.thread for page in pages)
    packer.add(rooms[50], pages[50])
    await until(lambda: all(page.thread for page in pages[10:26]))
    assert {page.thread for page in pages[10:26]} == {"pack_0"}
    assert not any(page.thread for page in pages[:10] + pages[26:])
    # One that is compressed is forgotten, and counts no more.
    packer.remove(rooms[10])
    for room, page in zip(rooms[51:], pages[51:], strict=True):
        packer.add(room, page)
    assert not any(page.thread for page in pages[26:])
