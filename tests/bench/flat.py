"""The cost of the same questions in clusters of different sizes."""

import asyncio
from statistics import quantiles

from tests.bench import Figure, process, uvloop_runner
from tests.bench.asking import ask_all
from tests.bench.scale import SIZES, cluster_of, cpu_seconds, path_of, server_of

_HPAS = 30
_ROUNDS = 5
# Longer than a page is reused.
_EXPIRY_SECONDS = 2.5


def run(*, reduced: bool = False) -> list[Figure]:
    """Measure each size."""
    with uvloop_runner() as runner:
        if reduced:
            return runner.run(_measure("flat-20", hpas=6, rounds=1))
        return [
            figure
            for name in ("flat-100", "flat-1000", "flat-5000")
            for figure in runner.run(_measure(name))
        ]


async def _measure(name: str, hpas: int = _HPAS, rounds: int = _ROUNDS) -> list[Figure]:
    size = SIZES[name]
    seconds: list[float] = []
    spent = 0.0
    paths = [path_of(size, hpa) for hpa in range(hpas)]
    async with process(cluster_of, name) as (api, certificate), process(server_of, api) as started:
        url, pid, *_ = started
        await ask_all(paths, url, certificate)
        for _ in range(rounds):
            await asyncio.sleep(_EXPIRY_SECONDS)
            before = cpu_seconds(pid)
            seconds += await ask_all(paths, url, certificate)
            spent += cpu_seconds(pid) - before
    of = f"about 26 pods, in a cluster of {size.nodes:,} GPU nodes and {size.pods:,} pods"
    return [
        Figure(f"processor time of an answer {of}", spent / len(seconds) * 1000, "ms"),
        Figure(f"p99 of answers {of}", quantiles(seconds, n=100)[-1] * 1000, "ms"),
    ]
