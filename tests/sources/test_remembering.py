"""Remembering an exporter's earlier pages changes nothing: it only saves time."""

import re
import threading
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_server.rules.presets import DIALECTS
from metrics_server.sources.exporters import remembering
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.remembering import RememberedRows
from metrics_server.sources.pages.exposition import parse_labels
from tests.support.attribution import METRICS, PAGES, READINGS, UTILIZATION

URL = "http://192.0.2.1:9400/metrics"
EIGHT = PAGES["dcgm-3.x-8gpu-multi-pod"]


def page(body: bytes, remembered: RememberedRows | None = None) -> Page:
    """A page of the exporter."""
    return Page(URL, body, 0.0, DIALECTS, remembered)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(PAGES)), st.sampled_from(METRICS), st.booleans()),
        min_size=2,
        max_size=6,
    )
)
def test_it_changes_nothing(history: list[tuple[str, str, bool]]) -> None:
    """Values are the same, whatever pages were sent before, and whatever was read from them."""
    remembered = RememberedRows()
    for name, metric, is_backwards in history:
        lines = PAGES[name].splitlines(keepends=True)
        body = b"".join(reversed(lines) if is_backwards else lines)
        one, other = page(body, remembered), page(body)
        assert one.attribution(READINGS[metric]) == other.attribution(READINGS[metric])
        assert one.inventory() == other.inventory()
        assert one.label("modelName") == other.label("modelName")


def test_labels_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When some change, only those are read again."""
    read: list[str] = []

    def parse(text: str) -> Mapping[str, str | None]:
        read.append(text)
        return parse_labels(text)

    monkeypatch.setattr("metrics_server.sources.exporters.sheet.parse_labels", parse)
    remembered = RememberedRows()
    for _ in range(3):
        page(EIGHT, remembered).parse(UTILIZATION)
    assert len(read) == 8
    changed = re.sub(rb'(_UTIL\{gpu="0".*?pod=")[^"]+', rb"\1another", EIGHT, count=1)
    page(changed, remembered).parse(UTILIZATION)
    assert len(read) == 9


def test_it_takes_limited_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently scraped exporters are forgotten, and long pages are not remembered."""
    remembered = RememberedRows()
    known = {f'a="{number}"': None for number in range(10)}
    monkeypatch.setattr(remembering, "_MOST_BYTES", 100_000)
    remembered = RememberedRows()
    for number in range(100):
        remembered.keep(str(number), known)
        assert remembered.of("0") == known
    kept = [number for number in range(100) if remembered.of(str(number))]
    assert kept == [0, *range(100 - len(kept) + 1, 100)]
    assert 10 < len(kept) < 30
    remembered.keep("0", {f'a="{number}"': None for number in range(1000)})
    assert remembered.of("0") == known


def test_exporters_without_rows_take_no_memory() -> None:
    """Addresses come and go, and an exporter that has just started has no rows."""
    remembered = RememberedRows()
    page(EIGHT, remembered).parse(UTILIZATION)
    known = remembered.of(URL)
    page(b"# nothing yet\n", remembered).parse(UTILIZATION)
    assert remembered.of(URL) == known != {}
    for number in range(10):
        remembered.keep(str(number), {})
    assert len(remembered._rows) == 1


def test_memory_is_not_a_number_of_characters() -> None:
    """In a text with an emoji, each character takes four bytes."""
    remembered = RememberedRows()
    remembered.keep(URL, {f'a="{"x" * 80_000}"': None})
    assert remembered.of(URL)
    remembered.keep("b", {f'a="\N{ROCKET}{"x" * 80_000}"': None})
    assert not remembered.of("b")


def test_long_pages_are_not_remembered() -> None:
    """Long pages keep all labels of their rows, which may take ten times as much as the text."""
    line = b"# %s\n" % (b"x" * 1000)
    for lines, are_remembered in ((200, True), (300, False)):
        remembered = RememberedRows()
        page(EIGHT + line * (lines - len(EIGHT) // 1000), remembered).parse(UTILIZATION)
        assert bool(remembered.of(URL)) == are_remembered


class Growing(dict[str, None]):
    """Rows that grow once counting has begun, as may happen because of another thread."""

    def __iter__(self) -> Iterator[str]:
        begun = super().__iter__()
        self["another"] = None
        return begun


def test_a_page_that_another_thread_reads_is_remembered() -> None:
    """Its rows may grow at the same time."""
    remembered = RememberedRows()
    remembered.keep(URL, Growing(first=None))
    assert "first" in remembered.of(URL)


def test_a_page_that_another_thread_reads_is_explained() -> None:
    """The explanation uses the dialects of the rows that were read before."""
    one = page(EIGHT)
    one.parse(UTILIZATION)
    seen = one.dialects_seen()
    first = next(seen)
    one.inventory()
    assert set(seen) == {first}


def test_pages_are_parsed_in_threads_too() -> None:
    """Several threads at once read the same values."""
    remembered = RememberedRows()
    right = page(EIGHT).attribution(UTILIZATION)
    wrong: list[object] = []

    def parse() -> None:
        for _ in range(200):
            found = page(EIGHT, remembered).attribution(UTILIZATION)
            if found != right:
                wrong.append(found)

    threads = [threading.Thread(target=parse) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
