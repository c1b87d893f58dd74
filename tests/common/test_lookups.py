"""Look-ups: how long values are kept, how many, and how they are shared."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable

import pytest

from metrics_server.common.lookups import SharedLookups
from tests.support.clock import Clock
from tests.support.waiting import until

TTL = 10.0


class Source:
    """A source of values: the number of the look-up, once it may answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        """The next value."""
        self.asked += 1
        number = self.asked
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


Lookups = SharedLookups[str, int]


@pytest.fixture
def clock() -> Clock:
    """A clock at 0."""
    return Clock()


@pytest.fixture
def lookups(clock: Clock) -> Lookups:
    """Room for some values, of about 700 bytes."""
    return SharedLookups(ttl=TTL, max_bytes=16 * 700, clock=clock)


@pytest.fixture
def source() -> Source:
    """The source of values."""
    return Source()


async def begun(source: Source, *waiting: Awaitable[int]) -> list[asyncio.Task[int]]:
    """Start these as tasks that all wait for a look-up in progress."""
    asked = source.asked
    source.may_answer.clear()
    tasks = [asyncio.ensure_future(one) for one in waiting]
    await until(lambda: source.asked > asked)
    return tasks


async def test_a_value_is_kept_for_its_time(lookups: Lookups, source: Source, clock: Clock) -> None:
    """Until its time is over there is no new look-up, and at that moment there is."""
    assert await lookups.get("a", source) == 1
    clock.now = TTL - 0.001
    assert await lookups.get("a", source) == 1
    clock.now = TTL
    assert await lookups.get("a", source) == 2


async def test_the_time_counts_from_the_question(
    lookups: Lookups, source: Source, clock: Clock
) -> None:
    """A slow answer expires no later."""
    (task,) = await begun(source, lookups.get("a", source))
    clock.now = TTL - 1
    source.may_answer.set()
    assert await task == 1
    clock.now = TTL
    assert await lookups.get("a", source) == 2


async def test_keys_do_not_share(lookups: Lookups, source: Source) -> None:
    """Each key has its own value, whether kept or in progress."""
    tasks = await begun(source, lookups.get("a", source), lookups.get("b", source))
    source.may_answer.set()
    assert await asyncio.gather(*tasks) == [1, 2]
    assert [await lookups.get(key, source) for key in "ab"] == [1, 2]


async def test_callers_meanwhile_share(lookups: Lookups, source: Source) -> None:
    """Simultaneous callers for a key share one look-up."""
    tasks = await begun(source, *(lookups.get("a", source) for _ in range(100)))
    source.may_answer.set()
    assert set(await asyncio.gather(*tasks)) == {1}
    assert source.asked == 1


async def test_an_error_is_shared_but_not_kept(lookups: Lookups, source: Source) -> None:
    """All waiting callers get the error; a later one looks up again."""
    source.error = ValueError("no")
    tasks = await begun(source, *(lookups.get("a", source) for _ in range(3)))
    source.may_answer.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no"] * 3
    assert source.asked == 1
    source.error = None
    assert await lookups.get("a", source) == 2


async def test_a_caller_at_the_moment_of_an_error_looks_up_again(
    lookups: Lookups, source: Source
) -> None:
    """Otherwise an error could be passed on as long as callers keep coming."""
    late: list[asyncio.Task[int]] = []

    async def load() -> int:
        # Runs after this has failed, and before its callers are notified.
        asyncio.get_running_loop().call_soon(
            lambda: late.append(asyncio.ensure_future(lookups.get("a", source)))
        )
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await lookups.get("a", load)
    assert await late[0] == 1


class Key:
    """An object whose deletion can be observed."""


async def test_an_error_leaves_nothing_behind() -> None:
    """Failed look-ups hold no memory."""
    lookups: SharedLookups[Key, int] = SharedLookups(ttl=TTL, max_bytes=16 * 700)
    source = Source()
    source.error = ValueError("no")
    key = Key()
    gone = weakref.ref(key)
    with pytest.raises(ValueError, match="no"):
        await lookups.get(key, source)
    del key, source
    # The event loop's last iteration still refers to it.
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


async def test_values_are_bounded(lookups: Lookups, source: Source) -> None:
    """The least recently used value is evicted."""
    for key in range(30):
        await lookups.get(str(key), source)
        assert await lookups.get("0", source) == 1
    assert await lookups.get("29", source) == 30
    assert await lookups.get("1", source) == 31


async def test_a_value_of_a_long_key_is_returned_and_not_kept(
    lookups: Lookups, source: Source
) -> None:
    """A long key would evict many others."""
    assert [await lookups.get("x" * 700, source) for _ in range(2)] == [1, 2]


async def test_one_that_gives_up_leaves_the_others(lookups: Lookups, source: Source) -> None:
    """A caller that gives up does not affect the others."""
    first, second = await begun(source, lookups.get("a", source), lookups.get("a", source))
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    source.may_answer.set()
    assert await second == 1
    assert await lookups.get("a", source) == 1
    assert source.cancelled == 0


async def test_the_last_that_gives_up_ends_it(lookups: Lookups, source: Source) -> None:
    """A look-up without callers is cancelled, and the next caller does not wait for it."""
    tasks = await begun(source, lookups.get("a", source), lookups.get("a", source))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    source.may_answer.set()
    assert await lookups.get("a", source) == 2
    await until(lambda: source.cancelled == 1)


async def test_a_value_that_came_as_all_gave_up_is_no_surprise(
    lookups: Lookups, source: Source
) -> None:
    """The value is kept, or looked up again; the next caller gets no error."""
    (task,) = await begun(source, lookups.get("a", source))
    source.may_answer.set()
    task.cancel()
    await asyncio.wait([task])
    assert await lookups.get("a", source) in (1, 2)


async def test_what_is_forgotten_is_looked_up_again(lookups: Lookups, source: Source) -> None:
    """A look-up that had already begun is not kept either, though its callers get the value."""
    assert await lookups.get("a", source) == 1
    assert await lookups.get("b", source) == 2
    lookups.forget("a")
    lookups.forget("c")
    (task,) = await begun(source, lookups.get("a", source))
    lookups.forget("a")
    source.may_answer.set()
    assert await task == 3
    assert await lookups.get("a", source) == 4
    assert await lookups.get("a", source) == 4
    assert await lookups.get("b", source) == 2
