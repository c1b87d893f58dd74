"""What a caller can do to a whole server and its other callers: real sockets, real TLS."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from metrics_server.auth.reviewing import REVIEW_SECONDS
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.kube.reviews import Caller
from tests.support.clients import Answer, Client
from tests.support.exporters import page
from tests.support.harness import Cluster, client_of, cluster, configuration
from tests.support.objects import pod
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
GROUP = "/apis/external.metrics.k8s.io/v1beta1"
METRIC = f"{GROUP}/namespaces/default/gpu_utilization"
# kube-apiserver waits this long for discovery (remote_available_controller.go).
PATIENCE_OF_THE_AGGREGATOR = 5


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """A server with a measurement; the HPA controller and robots may list metrics."""
    pages = {"gpu-0": page({("default", "a"): [40]})}
    tokens = {"good": Caller("robot", groups=("robots",))}
    async with cluster(pages, [pod("a")], tokens=tokens) as simulated:
        simulated.trust.reviews.decide = lambda user, attributes: {
            "allowed": user.name in (HPA, "robot") and attributes.verb == "list"
        }
        yield simulated


@pytest.fixture
async def proxy(simulated: Cluster) -> AsyncIterator[Client]:
    """kube-apiserver."""
    async with client_of(simulated.server, simulated.trust.front_proxy()) as client:
        yield client


@pytest.fixture
async def anybody(simulated: Cluster) -> AsyncIterator[Client]:
    """A client without credentials."""
    async with client_of(simulated.server) as client:
        yield client


async def slowest(ask: Callable[[], Awaitable[Answer]], doing: asyncio.Task[object]) -> float:
    """The duration of the slowest answer while something was done."""
    longest = 0.0
    while True:
        began = time.monotonic()
        assert (await ask()).status == 200
        longest = max(longest, time.monotonic() - began)
        if doing.done():
            return longest


@pytest.mark.parametrize("path", ["/version", METRIC])
async def test_an_accept_header_of_thousands_of_ranges(
    simulated: Cluster, proxy: Client, anybody: Client, path: str
) -> None:
    """It is rejected, and nobody waits for that. `/version` is open to anyone in most clusters."""
    simulated.trust.reviews.decide = lambda _user, _attributes: {"allowed": True}
    accept = "x/y;q=0," * 1900 + "application/json;q=0," + "*/*," * 4000
    for client, headers in ((anybody, {}), (proxy, {"X-Remote-User": HPA})):
        asking = asyncio.create_task(client.ask(path, {**headers, "Accept": accept}))
        assert await slowest(lambda: anybody.ask("/livez"), asking) < 0.5
        refused = (await asking).error()
        assert refused.code == 400
        assert "5902 media ranges" in refused.message


@pytest.mark.parametrize(("groups", "length"), [(1100, 20), (1000, 90), (8000, 60)])
async def test_a_user_of_very_many_groups(
    simulated: Cluster, proxy: Client, groups: int, length: int
) -> None:
    """All of them are reviewed: the last may be the allowed one."""
    simulated.trust.reviews.decide = lambda user, _: {
        "allowed": f"{groups - 1:0{length}}" in user.groups
    }
    lines = [("X-Remote-User", "jo")]
    lines += [("X-Remote-Group", f"{n:0{length}}") for n in range(groups)]
    for _ in range(2):
        assert (await proxy.ask(METRIC, lines)).item().value == "40"


@pytest.mark.parametrize(
    "header", ["X-Remote-User", "X-Remote-Group", "X-Remote-Uid", "X-Remote-Extra-A"]
)
async def test_an_identity_that_is_not_utf8(simulated: Cluster, proxy: Client, header: str) -> None:
    """No review could identify the caller, so none is sent."""
    head = (
        f"GET {METRIC} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + ("" if header == "X-Remote-User" else f"X-Remote-User: {HPA}\r\n")
        + header
    )
    answer = await proxy.send(head.encode() + b": \xff\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"not UTF-8" in answer
    assert not simulated.trust.reviews.access_reviews


async def test_reviews_that_hang_hold_nobody_for_long(simulated: Cluster, proxy: Client) -> None:
    """The HPA is answered before kube-apiserver gives up on the server, and learns what hangs."""
    simulated.trust.reviews.set_fault(Fault("hang"))
    began = time.monotonic()
    answers = await asyncio.gather(
        proxy.ask(METRIC, {"X-Remote-User": HPA}), proxy.ask(GROUP, {"X-Remote-User": "discovery"})
    )
    assert time.monotonic() - began < PATIENCE_OF_THE_AGGREGATOR
    for answer in answers:
        assert answer.error().code == 500
        assert answer.error().message == (
            "the Kubernetes API did not decide whether this is allowed: it did not answer within "
            f"{REVIEW_SECONDS} s"
        )


async def test_a_client_that_has_gone_away_is_not_answered(simulated: Cluster) -> None:
    """Its request ends, and the scrape continues for those who still wait."""
    exporter = simulated.exporters["gpu-0"]
    exporter.may_answer.clear()
    admin = simulated.client
    async with client_of(simulated.server, simulated.trust.front_proxy()) as leaving:
        simulated.trust.reviews.decide = lambda _user, _attributes: {"allowed": True}
        gone = asyncio.create_task(leaving.ask(METRIC, {"X-Remote-User": HPA}))

        async def scrapes() -> int:
            return exporter.scrapes

        await eventually(scrapes, bool)
        stays = asyncio.create_task(admin.metric("default", "gpu_utilization", "app"))
        gone.cancel()
        await asyncio.wait([gone])
    await eventually(lambda: admin.ask("/metrics"), lambda answer: 'code="499"' in answer.text)
    assert not stays.done()
    exporter.may_answer.set()
    assert (await stays).item().value == "40"
    assert exporter.scrapes == 1


async def test_nobody_can_have_the_api_review_without_end(
    simulated: Cluster, anybody: Client, proxy: Client
) -> None:
    """Reviews of new paths and new tokens are rate-limited, and logged less often still."""
    reviews = simulated.trust.reviews
    start = time.monotonic()

    def most() -> float:
        """The limit's burst, plus what the time since the start allows."""
        return 40 + 20 * (time.monotonic() - start) + 1

    with capture_logs() as logs:
        codes = [(await anybody.ask(f"/nowhere/{n}")).status for n in range(200)]
        began = len(reviews.access_reviews)
        assert 40 <= began <= most()
        assert codes.count(403) == began
        assert codes.count(429) == 200 - began
        start = time.monotonic()
        tokens = [await anybody.ask(METRIC, {"Authorization": f"Bearer t{n}"}) for n in range(200)]
        assert 40 <= reviews.token_reviews <= most()
        assert {one.error().code for one in tokens} == {401, 429}
    assert len([line for line in logs if line["log_level"] != "debug"]) < 60
    # Known callers are still reviewed.
    assert (await proxy.ask(METRIC, {"X-Remote-User": HPA})).item().value == "40"


async def test_long_selectors_are_answered_and_not_kept(simulated: Cluster) -> None:
    """A tenant's selectors of every kind take no lasting memory."""

    async def ask(n: int) -> None:
        values = ",".join(f"v{n}x{i}" for i in range(900))
        answer = await simulated.client.metric(
            "default", "gpu_utilization", f"app notin ({values})"
        )
        assert answer.item().value == "40"

    await ask(0)
    tracemalloc.start()
    try:
        for n in range(1, 10):
            await ask(n)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for n in range(10, 25):
            await ask(n)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # The library that parses URLs caches the last 128 of them; that is bounded, too.
    assert grown < 15 * 50 * 1024


async def test_errors_name_no_namespace_that_the_caller_did_not(simulated: Cluster) -> None:
    """The location of other pods is only logged; the caller may not see their namespaces."""
    simulated.exporters["gpu-0"].page = page({("secret-project", "a"): [40]})
    with capture_logs() as logs:
        answer = await simulated.client.metric("default", "gpu_utilization", "app=inference")
    message = answer.error().message
    assert "secret-project" not in message
    assert "the page names a pod a, but not in namespace default" in message
    assert any("secret-project" in str(line.get("namespaces")) for line in logs)


async def test_errors_name_no_namespace_that_is_watched() -> None:
    """The list of watched namespaces is only logged."""
    config = configuration({"pods": {"namespaces": ["secret-project"]}})
    with capture_logs() as logs:
        async with cluster({}, [], config) as simulated:
            answer = await simulated.client.metric("default", "gpu_utilization")
            assert "secret-project" not in answer.text
    assert any("secret-project" in str(line.get("namespaces")) for line in logs)


async def test_a_path_that_is_long_is_not_repeated(simulated: Cluster, anybody: Client) -> None:
    """Answers have a bounded length, whatever was requested."""
    simulated.trust.reviews.decide = lambda _user, _attributes: {"allowed": True}
    for path in ("/" + "x" * 30_000, f"{METRIC}{quote('ü' * 5000)}"):
        status = (await anybody.ask(path)).error()
        assert status.code == 404
        assert len(status.message) < 4200
    simulated.trust.reviews.decide = lambda _user, _attributes: {"allowed": False}
    status = (await anybody.ask("/" + "y" * 30_000)).error()
    assert status.code == 403
    assert len(status.message) < 4200
