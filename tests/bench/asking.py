"""Asks as the HPA controller does: for all HPAs, with a few workers."""

import asyncio
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from time import perf_counter

from tests.bench.serving import connection

# kube-controller-manager's --concurrent-horizontal-pod-autoscaler-syncs.
WORKERS = 5


async def at_once(
    paths: Sequence[str], url: str, certificate: str, period: float, periods: int
) -> list[tuple[float, float]]:
    """Ask for all HPAs at once, each period: when each was asked, and how long its answer took."""
    began = perf_counter()
    found: list[tuple[float, float]] = []
    for number in range(periods):
        asked = began + number * period
        await asyncio.sleep(asked - perf_counter())
        found += [(asked, took) for took in await ask_all(paths, url, certificate)]
    return found


async def one_by_one(
    paths: Sequence[str], url: str, certificate: str, period: float, periods: int
) -> list[tuple[float, float]]:
    """Ask for all HPAs at once, and then for each a period after its last answer."""
    began = perf_counter()
    due = [(began, path) for path in paths]
    found: list[tuple[float, float]] = []

    async def work() -> None:
        async with connection(url, certificate) as question:
            while due[0][0] < began + periods * period:
                at, path = heappop(due)
                await asyncio.sleep(at - perf_counter())
                asked = perf_counter()
                found.append((asked, await question(path)))
                heappush(due, (perf_counter() + period, path))

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return found


async def ask_all(paths: Iterable[str], url: str, certificate: str) -> list[float]:
    """Ask once for every HPA, as the controller's workers do; how long each answer took."""
    due = iter(paths)
    seconds: list[float] = []

    async def work() -> None:
        async with connection(url, certificate) as question:
            for path in due:
                seconds.append(await question(path))  # noqa: PERF401 - many share it

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return seconds
