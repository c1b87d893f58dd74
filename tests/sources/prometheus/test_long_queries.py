"""A query with the names of thousands of pods does not keep other requests waiting."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.kube.pods import Pod
from metrics_server.rules.model import MetricRule, Query
from metrics_server.rules.templates import parse
from metrics_server.sources.prometheus import encoding
from metrics_server.sources.prometheus.encoding import encoded
from tests.support.query_api import serving
from tests.support.stored import pod, querying

# What no request may wait for.
LIMIT_SECONDS = 0.05
SELECTORS = "abcdef"
# As long as the names in one query may be.
PODS = [pod(f"inference-server-llama-7b-{number:06d}-abcdefgh-ij") for number in range(2970)]
DOTTED = [pod(one.name.replace("-", ".")) for one in PODS]


class Turns:
    """The longest turn of other tasks on the event loop, in seconds of the processor."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Take turns with them."""
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - began)


@asynccontextmanager
async def turns() -> AsyncIterator[Turns]:
    """The turns during the context."""
    found = Turns()
    watching = asyncio.create_task(found.watch())
    yield found
    watching.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("pods", [PODS, DOTTED], ids=["plain", "dotted"])
@pytest.mark.parametrize("label", [None, "pod"])
async def test_other_requests_have_their_turn(label: str | None, pods: list[Pod]) -> None:
    """While it is written, sent, and its values are attributed to pods."""
    of_each = [f"sum by (pod) ({name}{{<<.LabelMatchers>>}})" for name in SELECTORS]
    text = f"{' + '.join(of_each)} + on () group_left sum(a{{pod=~<<.Pods>>}})"
    rule = MetricRule(
        *("mine", "", "", (), 1e6),
        measures="pods",
        sources=("prometheus",),
        query=Query(parse(text), label),
    )
    lengths: list[int] = []
    found = ",".join(
        f'{{"metric":{{"gpu_metrics_server_selector":"{number}","pod":"{one.name}"}},'
        f'"value":[{time.time()},"{time.time()}"]}}'
        for number in range(len(SELECTORS))
        for one in pods
    )
    body = f'{{"status":"success","data":{{"resultType":"vector","result":[{found}]}}}}'

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        async for piece, _ in request.content.iter_chunks():
            lengths.append(len(piece))
        return web.Response(body=body.encode(), content_type="application/json")

    async with serving(handle) as url, querying(url, pods) as queried, turns() as taken:
        await queried.source.collect(rule, pods)
    assert sum(lengths) > len(SELECTORS) * 128 * 1024
    assert taken.longest < LIMIT_SECONDS


@given(st.dictionaries(st.text(), st.text(max_size=100)))
async def test_a_form_in_pieces(form: dict[str, str]) -> None:
    """It is the same as one that is encoded at once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoding, "_PIECE", 7)
        body = (await encoded(form)).decode("ascii")
    assert body == urlencode(form)
