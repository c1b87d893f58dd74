"""The memory for earlier scrapes: bounded, shared fairly, and useful even when full."""

import gc
import time
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.rules.model import Reading
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.track import Increase, Key, Series
from tests.support.clock import Clock

pytestmark = pytest.mark.slow

READING = Reading("m", 0, 100, rate=True)
KIB = 1024
MIB = 1024 * KIB
BOUNDS = tuple(map(float, range(22)))


def histograms(*names: str) -> Series:
    """The histogram of each engine."""
    return {(frozenset({("engine", name)}), BOUNDS): BOUNDS for name in names}


def scrape(
    history: History, clock: Clock, pods: Sequence[str], namespace: str = "ns"
) -> dict[str, str]:
    """Scrape each pod, and return why it has no increase, or "ok"."""
    found = {
        pod: history.increase(namespace, pod, READING, 60, clock(), histograms("0", "1"))
        for pod in pods
    }
    return {pod: "ok" if isinstance(one, Increase) else one for pod, one in found.items()}


def names(namespace: str, count: int) -> list[str]:
    """The targets of this many pods."""
    return [f"http://10.0.0.{number}/metrics#{namespace}" for number in range(count)]


def test_it_takes_no_more_than_it_counts() -> None:
    """The count is an upper bound, although some of what it counts is shared."""
    clock = Clock(1000)
    history = History(clock=clock)
    scrape(history, clock, ["warm"])
    pods = names("ns", 50)
    gc.collect()
    tracemalloc.start()
    try:
        before, counted = tracemalloc.get_traced_memory()[0], history.bytes
        for _ in range(40):
            clock.advance(1.75)
            scrape(history, clock, pods)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 50 * 16 * 44 * 8 < taken < history.bytes - counted < 50 * 16 * KIB


def test_when_it_is_full_the_pages_it_has_keep_their_rates() -> None:
    """The others get an error at every scrape; once those pages are gone, there is room."""
    clock = Clock(1000)
    history = History(MIB, clock)
    pods = names("ns", 200)
    first = scrape(history, clock, pods)
    known = [pod for pod, why in first.items() if why == "once"]
    assert 50 < len(known) < 150
    for _ in range(40):
        clock.advance(2)
        found = scrape(history, clock, pods)
        assert {pod for pod, why in found.items() if why == "ok"} == set(known)
        assert {why for pod, why in found.items() if pod not in known} == {"full"}
        assert history.bytes <= MIB
        history.expire()
    others = [pod for pod in pods if pod not in known]
    clock.advance(121)
    assert set(scrape(history, clock, others[:50]).values()) == {"once"}
    clock.advance(2)
    assert set(scrape(history, clock, others[:50]).values()) == {"ok"}


def test_a_namespace_cannot_take_it_all() -> None:
    """A namespace with more than another makes room for it, once, and keeps the rest."""
    clock = Clock(1000)
    history = History(MIB, clock)
    large, small = names("large", 200), names("small", 10)
    scrape(history, clock, large, "large")
    clock.advance(2)
    before = scrape(history, clock, large, "large")
    assert set(scrape(history, clock, small, "small").values()) == {"once"}
    kept: set[str] = set()
    for _ in range(20):
        clock.advance(2)
        found = scrape(history, clock, large, "large")
        assert set(scrape(history, clock, small, "small").values()) == {"ok"}
        has = {pod for pod, why in found.items() if why == "ok"}
        assert kept in (set(), has)
        kept = has
        assert history.bytes <= MIB
    had = [pod for pod, why in before.items() if why == "ok"]
    assert len(had) - 12 <= len(kept) < len(had)
    assert kept == set(had[: len(kept)]), "the newest have made room"


def test_room_is_made_quickly() -> None:
    """Room is made quickly among thousands of namespaces, even for a page as large as thousands."""
    clock = Clock(1000)
    history = History(clock=clock)
    small: Series = {(frozenset({("m", "a")}), ()): (1.0,)}
    large: Series = {(frozenset({("m", f"{n}")}), ()): (1.0,) for n in range(5000)}
    for number in range(10_000):
        history.increase(f"ns{number}", "http://10.0.0.1/", READING, 60, clock(), small)
    pod = 0
    while history.increase("most", f"http://{pod}/", READING, 60, clock(), small) == "once":
        pod += 1
    began, before = time.process_time(), len(history)
    assert history.increase("new", "http://10.0.0.2/", READING, 60, clock(), large) == "once"
    assert time.process_time() - began < 0.5
    assert len(history) < before - 1000


def test_a_page_that_grows_beyond_the_room_is_dropped() -> None:
    """Such a page has no rate from then on, and the others keep theirs."""
    clock = Clock(1000)
    history = History(256 * KIB, clock)
    series: dict[Key, tuple[float, ...]] = {**histograms("0")}
    pods = names("ns", 5)
    scrape(history, clock, pods)
    assert history.increase("ns", "u", READING, 60, clock(), series) == "once"
    clock.advance(2)
    series |= histograms(*map(str, range(100)))
    assert history.increase("ns", "u", READING, 60, clock(), series) == "full"
    assert len(history) == 5
    assert set(scrape(history, clock, pods).values()) == {"ok"}


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["u", "v", "w"]),
        st.sampled_from([0, 1, 60]),
        st.sets(st.sampled_from("0123456789"), max_size=10),
        st.sampled_from([0, 0.5, 70]),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_is_scraped_the_bytes_add_up(
    steps: Sequence[tuple[str, str, int, set[str], float]],
) -> None:
    """The bytes stay within the limit, and nothing is left at the end."""
    clock = Clock(1000)
    history = History(64 * KIB, clock)
    for namespace, target, window, engines, pause in steps:
        clock.advance(pause)
        series = histograms(*sorted(engines))
        history.increase(namespace, target, READING, window, clock(), series)
        history.expire()
        assert 0 <= history.bytes <= 64 * KIB
        assert (history.bytes > 0) == (len(history) > 0)
    clock.advance(200)
    history.expire()
    assert (len(history), history.bytes) == (0, 0)
