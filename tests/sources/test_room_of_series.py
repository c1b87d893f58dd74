"""What is kept of pods' pages has a bound together, and ordinary pages are always read."""

import gc
import sys
import tracemalloc

import pytest

from metrics_server.common.weight import weight
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.pods import rows as rows_module
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.room import SeriesRoom, size_of
from metrics_server.sources.pods.rows import Found, NoValue
from tests.support.pod_pages import value_by

MIB = 1024 * 1024
GAUGE = Reading("g", 0, 100)
RULE = MetricRule("m", "", "", (GAUGE,), 100, measures="pods", sources=("pods",))


def body(pod: int, rows: int, labels: int = 2) -> bytes:
    """The page of a pod, with labels that no other has."""
    names = ",".join(f'label_{one}="{{0}}-{{1}}-{one}"' for one in range(labels))
    return "".join(f"g{{{names.format(pod, row)}}} 1\n" for row in range(rows)).encode()


def test_pages_have_a_bound_together_until_they_are_gone() -> None:
    """Those without room have no value, and the reason says so; a short page has its value."""
    room = SeriesRoom(4 * MIB)
    pages = [PodPage(f"u{pod}", body(pod, 1000), 0, room) for pod in range(12)]
    found = [value_by(page, RULE) for page in pages]
    assert 3 <= found.count(1000) <= 6
    assert {one for one in found if one != 1000} == {
        NoValue("has 1000 rows of g, and the pages of other pods take all the memory for so many")
    }
    assert value_by(PodPage("short", body(99, 20), 0, room), RULE) == 20
    pages.clear()
    gc.collect()
    assert value_by(PodPage("next", body(99, 1000), 0, room), RULE) == 1000


@pytest.mark.slow
def test_no_more_is_kept_than_is_counted() -> None:
    """The rows themselves are not."""
    room = SeriesRoom(4 * MIB)
    bodies = [body(pod, 1000) for pod in range(12)]
    texts = sum(map(len, bodies))
    pages: list[PodPage] = []
    tracemalloc.start()
    try:
        for pod, one in enumerate(bodies):
            pages.append(PodPage(f"u{pod}", one, 0, room))
            value_by(pages[-1], RULE)
        # What pages share, and has a bound of its own.
        rows_module._known_place.cache_clear()
        assert tracemalloc.get_traced_memory()[0] < 4 * MIB + texts
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("labels", [0, 1, 4, 5, 20])
def test_series_are_not_counted_as_less_than_they_take(labels: int) -> None:
    """Apart from texts of more than ordinary length."""
    found = PodPage("u", body(0, 500 if labels else 1, labels), 0).series(GAUGE)
    assert isinstance(found, Found)
    taken = weight(found.series) - sys.getsizeof(found.series)
    assert taken * 0.8 < size_of(found) < 4 * taken + 1000
