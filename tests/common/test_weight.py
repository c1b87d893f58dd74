"""Caches bounded by bytes: they count no less than is allocated."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from metrics_server.auth.identity import User
from metrics_server.common.weight import BytesLRU, weight
from metrics_server.kube.labels import _known, parse_selector
from metrics_server.measuring.samples import Question


def question(n: int, length: int) -> Question:
    """A question with many different values, in its state after an answer."""
    selector = parse_selector(f"app in ({','.join(f'v{n}x{i}' for i in range(length))})")
    selector.matches({"app": "x"})
    return Question("default", "gpu_utilization", selector)


def user(n: int, length: int) -> User:
    """A user with many groups."""
    return User(f"u{n}", groups=tuple(f"group-{n}-{i}" for i in range(length)))


def allocated() -> int:
    """How many bytes are allocated and in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 20])
@pytest.mark.parametrize("make", [question, user])
def test_what_is_kept_is_counted(make: Callable[[int, int], Question | User], length: int) -> None:
    """However much is put in, memory stays within the bound."""
    most = 256 * 1024
    kept: BytesLRU[Question | User, int] = BytesLRU(most)

    def put(n: int) -> None:
        key = make(n, length)
        kept.put(key, n, weight(key))

    tracemalloc.start()
    try:
        before = allocated()
        for n in range(most // (length * 100)):
            put(n)
        _known.cache_clear()
        grown = allocated() - before
    finally:
        tracemalloc.stop()
    assert kept.bytes <= most
    assert len(kept) > 1
    assert grown <= most * 1.1


def test_the_longest_unused_goes_first() -> None:
    """Entries in use stay."""
    kept: BytesLRU[int, str] = BytesLRU(16 * 1000)
    for n in range(100):
        kept.put(n, "x", 50)
        kept.get(0)
    assert kept.get(0) == "x"
    assert kept.get(1) is None
    assert kept.get(99) == "x"


def test_what_is_too_long_is_not_kept() -> None:
    """A long value would evict many others; the old value of its key is removed, too."""
    kept: BytesLRU[str, str] = BytesLRU(16 * 1000)
    kept.put("a", "old", 10)
    kept.put("a", "new", 601)
    assert kept.get("a") is None
    assert len(kept) == 0


def test_a_single_value_may_take_all() -> None:
    """Where one that is large is worth more than many that are small."""
    kept: BytesLRU[str, str] = BytesLRU(16 * 1000, least_entries=1)
    kept.put("a", "small", 10)
    kept.put("b", "large", 15_400)
    assert (kept.get("a"), kept.get("b")) == (None, "large")
    kept.put("c", "too large", 15_600)
    assert (kept.get("b"), kept.get("c")) == ("large", None)
