"""One answer with the values of a thousand pods, against the one value over all of them.

Both answer an HPA with that many pods: with a Pods metric, and with an External metric.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.bench import Figure, process, uvloop_runner
from tests.bench.scale import ONE_WORKLOAD, cluster_of, cpu_seconds, path_of
from tests.bench.serving import Question, connection, started

PODS_PATH = (
    "/apis/custom.metrics.k8s.io/v1beta2/namespaces/namespace-0/pods/%2A/gpu_utilization"
    "?labelSelector=app%3Dapp-0"
)
# A process's CPU clock ticks a hundred times per second.
_REPEATED_QUESTIONS = 3000
_NEW_QUESTIONS = 40


def run(*, reduced: bool = False) -> list[Figure]:
    """Measure answers from fresh pages, and repeated answers."""
    with uvloop_runner() as runner:
        if reduced:
            return runner.run(_measure(200, 2))
        return runner.run(_measure(_REPEATED_QUESTIONS, _NEW_QUESTIONS))


async def _measure(repeated_questions: int, new_questions: int) -> list[Figure]:
    one_value = path_of(ONE_WORKLOAD, 0)
    async with process(cluster_of, "") as (api, certificate):
        async with _asking(api, certificate, "1h") as (question, pid):
            repeated = await _milliseconds(question, PODS_PATH, pid, repeated_questions)
        async with _asking(api, certificate, "1ms") as (question, pid):
            new = await _milliseconds(question, PODS_PATH, pid, new_questions)
            one = await _milliseconds(question, one_value, pid, new_questions)
    of = "with the values of 1,000 pods"
    return [
        Figure(f"processor time of an answer {of}, repeated", repeated, "ms"),
        Figure(f"processor time of an answer {of}, scrapes of 125 nodes included", new, "ms"),
        Figure(
            f"processor time of an answer {of}, scrapes of 125 nodes included, as a ratio",
            new / one,
            "times",
            against="an answer with one value over these pods",
        ),
    ]


@asynccontextmanager
async def _asking(api: str, certificate: str, max_age: str) -> AsyncIterator[tuple[Question, str]]:
    """A connection to a server, and the server's process."""
    async with (
        process(_server, api, max_age) as (url, pid),
        connection(url, certificate) as question,
    ):
        yield question, pid


async def _milliseconds(question: Question, path: str, pid: str, times: int) -> float:
    """The server's processor time for an answer."""
    await question(path)
    began = cpu_seconds(pid)
    for _ in range(times):
        await question(path)
    return (cpu_seconds(pid) - began) / times * 1000


async def _server(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """The server: its URL and its process."""
    api, max_age = arguments
    server = await started(
        stack,
        api,
        {"exporters": {"maxAge": max_age}, "fallback": {"chain": ["error"], "minCoverage": 1.0}},
    )
    return [server.url, str(os.getpid())]
