"""Answers whose pages were read ahead, against answers that scrape.

Two servers of one cluster, one of which reads ahead, are each asked by a controller, in turn: for
all HPAs at once, or for one HPA after another through the period. Their samples, scrapes and
answers are compared once the first has learned when it is asked.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median, quantiles
from time import perf_counter

import aiohttp
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from tests.bench import Figure, process, uvloop_runner
from tests.bench.asking import WORKERS
from tests.bench.scale import SIZES, Size, cluster_of, path_of
from tests.bench.serving import SCRAPE_SECONDS, Question, connection, started

_LEARNING_PERIODS = 6
# HPAs that share nodes are numbered consecutively, and do not ask one after another.
_STRIDE = 77
_USER = {
    "X-Remote-User": "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    "X-Remote-Group": "system:masters",
}


class _Plan(Struct, frozen=True):
    """What is measured.

    Attributes:
        size: of the cluster.
        period: of the HPAs, in seconds.
        periods: how many are measured.
        max_age: in the servers' configuration.
    """

    size: Size
    period: float
    periods: int
    max_age: str


_FULL = _Plan(Size(nodes=300, other_pods=100, hpas=300, namespaces=20), 10, 5, "2s")
_REDUCED = _Plan(Size(nodes=10, other_pods=10, hpas=10, namespaces=2), 0.4, 2, "100ms")
_PLANS = {"full": _FULL, "reduced": _REDUCED}


class _Totals(Struct, frozen=True):
    """A server's own counters."""

    scrapes: float
    answers: float
    age: float


class _Outcome(Struct, frozen=True):
    """What one server took for the measured periods; `seconds` has a list per period."""

    seconds: list[list[float]]
    scrapes: float
    age: float


def run(*, reduced: bool = False) -> list[Figure]:
    """Compare all HPAs at once, and one after another."""
    plan = "reduced" if reduced else "full"
    with uvloop_runner() as runner:
        return [
            *runner.run(_measure(plan, is_burst=True)),
            *runner.run(_measure(plan, is_burst=False)),
        ]


async def _measure(name: str, *, is_burst: bool) -> list[Figure]:
    plan = _PLANS[name]
    async with (
        process(_cluster, name) as (api, certificate),
        process(_server, api, plan.max_age, "ahead") as (ahead_url,),
        process(_server, api, plan.max_age, "") as (demand_url,),
    ):
        began = perf_counter() + 0.1
        # Half a period apart, so that they do not compete.
        ahead, demand = await asyncio.gather(
            _ask(plan, ahead_url, certificate, began, is_burst=is_burst),
            _ask(plan, demand_url, certificate, began + plan.period / 2, is_burst=is_burst),
        )
    manner = "at once" if is_burst else "one after another"
    of = f"for {plan.size.hpas} HPAs {manner}, {plan.size.nodes} nodes, asked ahead"
    against = "the same scraped on demand"
    return [
        Figure(f"p50 of answers {of}", _ratio(median, ahead, demand), "times", against),
        Figure(f"p99 of answers {of}", _ratio(_p99, ahead, demand), "times", against),
        Figure(f"mean age of samples {of}", ahead.age / demand.age, "times", against),
        Figure(
            f"scrapes {of}",
            ahead.scrapes / demand.scrapes,
            "times",
            against,
            at_most=1 if is_burst else None,
        ),
    ]


def _ratio(of: Callable[[list[float]], float], ahead: _Outcome, demand: _Outcome) -> float:
    """The median of the periods' ratios, as other load on the machine comes and goes."""
    pairs = zip(ahead.seconds, demand.seconds, strict=True)
    return median(of(one) / of(other) for one, other in pairs)


def _p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[-1]


async def _ask(
    plan: _Plan, url: str, certificate: str, began: float, *, is_burst: bool
) -> _Outcome:
    """Ask for all HPAs in each period, as the controller's workers do."""
    seconds: list[list[float]] = []
    before: _Totals | None = None
    async with _connections(url, certificate) as workers:
        for period in range(_LEARNING_PERIODS + plan.periods):
            start = began + period * plan.period
            if period == _LEARNING_PERIODS:
                # Between two periods: nothing is read ahead for the next one yet.
                await _until(start - plan.period / 4)
                before = await _totals(url, certificate)
                seconds.clear()
            seconds.append([])
            await _until(start)
            gap = 0.0 if is_burst else plan.period / plan.size.hpas
            turns = range(plan.size.hpas)
            due = iter([(start + turn * gap, turn * _STRIDE % plan.size.hpas) for turn in turns])

            async def work(question: Question, due: Iterator[tuple[float, int]] = due) -> None:
                for moment, hpa in due:
                    await _until(moment)
                    seconds[-1].append(await question(path_of(plan.size, hpa)))

            await asyncio.gather(*map(work, workers))
    after = await _totals(url, certificate)
    assert before is not None
    answers = after.answers - before.answers
    return _Outcome(seconds, after.scrapes - before.scrapes, (after.age - before.age) / answers)


async def _until(moment: float) -> None:
    if (left := moment - perf_counter()) > 0:
        await asyncio.sleep(left)


@asynccontextmanager
async def _connections(url: str, certificate: str) -> AsyncIterator[list[Question]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(connection(url, certificate)) for _ in range(WORKERS)
        ]


async def _totals(url: str, certificate: str) -> _Totals:
    """A server's totals so far, from its own metrics."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(certificate)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/metrics", headers=_USER, ssl=context) as response,
    ):
        response.raise_for_status()
        text = await response.text()
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0) + sample.value
    prefix = "gpu_metrics_server"
    return _Totals(
        totals.get(f"{prefix}_scrape_duration_seconds_count", 0),
        totals.get(f"{prefix}_sample_age_seconds_count", 0),
        totals.get(f"{prefix}_sample_age_seconds_sum", 0),
    )


async def _cluster(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    (plan,) = arguments
    SIZES[plan] = _PLANS[plan].size
    return await cluster_of(stack, plan, str(SCRAPE_SECONDS))


async def _server(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    api, max_age, ahead = arguments
    config: Mapping[str, object] = {
        "exporters": {"maxAge": max_age, "askAhead": bool(ahead)},
        "fallback": {"chain": ["error"], "minCoverage": 1.0},
    }
    return [(await started(stack, api, config)).url]
