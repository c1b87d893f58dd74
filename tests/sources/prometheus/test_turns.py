"""Tens of thousands of series do not delay other requests."""

import asyncio
import gc
import weakref

import pytest

from metrics_server.sources import turns as turns_module
from metrics_server.sources.prometheus.client import Series
from metrics_server.sources.prometheus.moment import drained, values_of
from metrics_server.sources.turns import Turns

ROWS = 2000


async def test_other_tasks_run_between_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building their identities takes longer than decoding the answer."""
    monkeypatch.setattr(turns_module, "_TURN_SECONDS", 0)
    series = [Series({"__name__": "m", "a": str(number)}, number, 0) for number in range(ROWS)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    values = await values_of(series, Turns())
    counting.cancel()
    assert list(values.values()) == list(range(ROWS))
    assert series == []
    assert turns >= ROWS // 200


class _Item:
    pass


def test_items_are_freed_one_by_one() -> None:
    """Freeing all of them at once would take as long as decoding them."""
    items = [_Item() for _ in range(3)]
    alive = [weakref.ref(one) for one in items]
    left: list[int] = []
    for one in drained(items):
        del one
        gc.collect()
        left.append(sum(ref() is not None for ref in alive))
    assert left == [2, 1, 0]
