"""The texts of pages are compressed when nobody reads them."""

import hashlib
import sys
import tracemalloc

import lz4.block
import pytest

from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.text import Text
from metrics_server.sources.pods.page import PodPage
from tests.support.attribution import PAGES, UTILIZATION
from tests.support.data import DATA

LONG = PAGES["dcgm-3.x-8gpu-multi-pod"]
POD = (DATA / "engines" / "vllm-v1-dp2.prom").read_bytes() * 10


@pytest.mark.parametrize(
    "plain",
    [b"", b"x 1\n", LONG, hashlib.shake_256().digest(100_000)],
    ids=["0", "4", "60k", "noise"],
)
def test_it_is_the_same_text(plain: bytes) -> None:
    """The text is the same before, during and after reading, however often."""
    text = Text(plain)
    for _ in range(3):
        assert text.read() == plain
        with text:
            assert text.read() == plain
            with text:  # as a thread may
                assert text.read() == plain
            assert text.read() == plain
        assert text.size == len(plain)


@pytest.mark.parametrize("plain", [LONG, hashlib.shake_256().digest(100_000)], ids=["60k", "noise"])
def test_it_is_compressed_once(plain: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is read, and even if it is kept uncompressed because that gains little."""
    compressed: list[int] = []
    compress = lz4.block.compress

    def counted(text: bytes) -> bytes:
        compressed.append(len(text))
        packed: bytes = compress(text)
        return packed

    monkeypatch.setattr(lz4.block, "compress", counted)
    text = Text(plain)
    for _ in range(3):
        with text:
            assert text.read() == plain
    assert compressed == [len(plain)]


def test_it_takes_a_tenth_of_the_memory() -> None:
    """The page of a node with 8 GPUs takes a tenth of its size."""
    text = Text(bytes(bytearray(LONG)))
    with text:
        pass
    assert sum(sys.getsizeof(getattr(text, name)) for name in Text.__slots__) < len(LONG) / 10


@pytest.mark.parametrize(
    ("kind", "body"), [(Page, LONG), (PodPage, POD)], ids=["of an exporter", "of a pod"]
)
def test_pages_are_compressed_once_they_are_parsed(kind: type[Page | PodPage], body: bytes) -> None:
    """The parsed values take less than the text."""
    tracemalloc.start()
    try:
        page = kind("a", bytes(bytearray(body)), 0.0)
        assert tracemalloc.get_traced_memory()[0] > len(body)
        page.parse(UTILIZATION)
        assert tracemalloc.get_traced_memory()[0] < len(body) / 2
    finally:
        tracemalloc.stop()
    assert page.lines == body.count(b"\n")
    assert page.size == len(body)
