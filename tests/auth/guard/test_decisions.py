"""Which requests are allowed, over real TLS, and which are not."""

import asyncio

import pytest

from metrics_server.api.status import StatusDetails
from metrics_server.api.types import GROUP_VERSION
from metrics_server.auth.identity import ANONYMOUS
from metrics_server.auth.request_info import attributes_of
from metrics_server.simulator.faults import Fault, FaultKind
from metrics_server.tls.peer import PeerCertificates
from tests.support.guarding import ALICE, METRIC, PROBES, SERVED, Answer, Measured, Server
from tests.support.kubernetes import gone
from tests.support.reviews import access_of, caller_of

# And some that are not served, or not with this method.
ASKED = [
    *((path, "GET") for path in (*SERVED, "/", "/nowhere", f"{METRIC}x")),
    *((path, "POST") for path in (METRIC, "/metrics")),
]


async def test_who_may_is_answered(server: Server) -> None:
    """Every path is served to users whom the API allows, and each review is about that path."""
    for path in SERVED:
        allowed = caller_of(ALICE), access_of(attributes_of("GET", path, ""))
        server.reviews.decide = lambda *asked, allowed=allowed: {"allowed": asked == allowed}
        server.reviews.access_reviews.clear()
        assert (await server.ask(path)).status == 200, path
        assert len(server.reviews.access_reviews) == 1, path


async def test_who_may_not_is_refused(server: Server) -> None:
    """A denial is a 403 in the API's wording, which does not reveal whether the path exists."""
    for path, method in ASKED:
        status = (await server.ask(path, method)).error()
        assert (status.code, status.reason) == (403, "Forbidden"), (path, method)
        asked = attributes_of(method, path, "")
        assert status.details == StatusDetails(group=asked.group, kind=asked.resource)
        assert 'forbidden: User "alice" cannot ' in status.message


async def test_who_is_unknown_is_asked_to_say(server: Server) -> None:
    """Invalid credentials get a 401 everywhere, without a review."""
    server.callers.user = None
    server.reviews.decide = lambda _user, _attributes: {"allowed": True}
    for path, method in [*ASKED, *((path, "GET") for path in PROBES)]:
        status = (await server.ask(path, method)).error()
        told = status.code, status.reason, status.message
        assert told == (401, "Unauthorized", "Unauthorized"), (path, method)
        assert not server.reviews.access_reviews, (path, method)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["error", "garbage", "hang"])
async def test_a_review_that_fails_lets_nobody_in(server: Server, fault: FaultKind) -> None:
    """A failed review is a 500 with a Status each time, until reviews work again."""
    paths = (METRIC, "/metrics", "/apis", "/nowhere")
    server.reviews.set_fault(Fault(fault))
    for _ in range(2):
        answers = await asyncio.gather(*map(server.ask, paths))
        for path, answer in zip(paths, answers, strict=True):
            status = answer.error()
            assert (status.code, status.reason) == (500, "InternalError"), path
            assert "did not decide whether this is allowed" in status.message
    server.reviews.set_fault(None)
    for path in paths:
        assert (await server.ask(path)).status == 403, path
    assert server.measured == Measured()


async def test_no_kubernetes_api_lets_nobody_in(server: Server) -> None:
    """Without the API only probes are answered, so that the kubelet does not restart the server."""
    async with gone(server.api):
        assert (await server.ask(METRIC)).error().code == 500
        server.callers.user = ANONYMOUS
        for path in PROBES:
            for spelled in (path, f"{path}/"):
                assert await server.ask(spelled) == Answer(200, b"ok")


async def test_a_certificate_is_shown_once_a_connection(server: Server) -> None:
    """Each request has its peer's certificate, which is read once per connection."""
    async with server.connected(server.certified) as client:
        for _ in range(3):
            await client.ask("/healthz")
    assert server.callers.peers == [PeerCertificates((server.certificate,))] * 3
    first, *rest = server.callers.peers
    assert all(peer is first for peer in rest)


async def test_a_certificate_is_that_of_its_connection(server: Server) -> None:
    """A connection's certificate counts on no other, even while both are open."""
    async with server.connected(server.certified) as certified, server.connected() as plain:
        for client in (certified, plain, certified, plain):
            await client.ask("/healthz")
    async with server.connected() as after:
        await after.ask("/healthz")
    shown = PeerCertificates((server.certificate,))
    assert server.callers.peers == [shown, None, shown, None, None]


async def test_all_header_lines_are_passed_on(server: Server) -> None:
    """Header lines keep their order, and repeated ones stay separate, as for groups."""
    lines = [("X-Remote-Group", "b"), ("X-Remote-User", "u"), ("X-Remote-Group", "a, c")]
    async with server.connected() as client:
        await client.ask("/healthz", headers=lines)
    told = [line for line in server.callers.headers if line[0].startswith("X-Remote-")]
    assert told == lines


async def test_a_path_that_is_not_utf8_is_malformed(server: Server) -> None:
    """A path that is not UTF-8 is rejected without a review."""
    status = (await server.ask(f"/apis/{GROUP_VERSION}/namespaces/default/%FF")).error()
    assert (status.code, status.reason) == (400, "BadRequest")
    assert not server.reviews.access_reviews


@pytest.mark.slow
async def test_decisions_are_counted(server: Server) -> None:
    """/metrics counts the requests that were allowed, denied and undecided."""
    await server.ask(METRIC)
    server.reviews.set_fault(Fault("error"))
    await server.ask("/apis")
    await server.ask("/apis")
    server.reviews.set_fault(None)
    server.reviews.decide = lambda _user, _attributes: {"allowed": True}
    lines = (await server.ask("/metrics")).body.decode().splitlines()
    for decision, count in (("allowed", 1.0), ("denied", 1.0), ("error", 2.0)):
        assert f'gpu_metrics_server_authorizations_total{{decision="{decision}"}} {count}' in lines
