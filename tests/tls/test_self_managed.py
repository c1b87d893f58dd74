import asyncio
import ssl
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiohttp import ClientSession, TCPConnector
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from metrics_server.errors import KubernetesError
from metrics_server.http.listener import listening
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.events import Events
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import SECRETS, Object, metadata
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.api_service import EXTERNAL_METRICS
from metrics_server.tls.authority import Authority
from metrics_server.tls.context import ListeningContext
from metrics_server.tls.self_managed import SelfManaged
from tests.support.certificates import (
    CONFIG_MAP,
    NAME,
    NAMESPACE,
    SECRET,
    SERVICE,
    Replica,
    data,
    in_config_map,
    published,
)
from tests.support.clock import WallClock
from tests.support.peers import HOST, PATIENCE_SECONDS, server, trusting

pytestmark = pytest.mark.slow


async def test_many_replicas_at_once_agree(client: KubernetesClient, api: KubernetesAPI) -> None:
    """Five that start at once end up with one authority and one pair, and publish it."""
    clock = WallClock(datetime.now(UTC))
    replicas = [Replica(client, clock) for _ in range(5)]
    await asyncio.gather(*(one.managed.settle() for one in replicas))
    assert len({one.serving for one in replicas}) == 1
    assert data(api)["tls.crt"] == replicas[0].serving.certificate
    assert published(api) == in_config_map(api) == data(api)["ca.crt"]
    assert all(len(one.pairs) == 1 for one in replicas), "none served with what others had not"
    posts = api.store.get(SECRETS, NAMESPACE, SECRET)
    assert posts is not None


async def test_many_replicas_agree_through_a_change_of_the_authority(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    """When something is due, one of them does it, and all reload it."""
    clock = WallClock(datetime.now(UTC))
    replicas = [Replica(client, clock) for _ in range(5)]
    until = max(await asyncio.gather(*(one.managed.settle() for one in replicas)))
    first = data(api)["ca.crt"]
    while data(api)["ca.crt"] == first:
        clock.now = until
        until = max(await asyncio.gather(*(one.managed.settle() for one in replicas)))
        await asyncio.gather(*(one.managed.settle() for one in replicas))
        assert len({one.serving for one in replicas}) == 1
    assert published(api) == in_config_map(api) == data(api)["ca.crt"] + first


@pytest.mark.parametrize("failing", [500, 503, 429, 409])
async def test_a_failing_api_is_asked_again(
    client: KubernetesClient, api: KubernetesAPI, failing: int
) -> None:
    """Errors are logged once and retried, and do not end the task."""
    clock = WallClock(datetime.now(UTC))
    replica = Replica(client, clock)
    slept: list[float] = []
    resting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if api.store.get(SECRETS, NAMESPACE, SECRET) is not None and published(api):
            resting.set()
            await asyncio.Event().wait()

    managed = SelfManaged(
        client,
        service=SERVICE,
        namespace=NAMESPACE,
        secret=SECRET,
        config_map=CONFIG_MAP,
        api_services=(EXTERNAL_METRICS,),
        events=Events(client),
        use=replica.pairs.append,
        monitor=Monitor(CollectorRegistry()),
        sleep=sleep,
        rand=lambda: 1.0,
        clock=clock,
    )
    api.faults.refuse_next(failing, "not now", times=4)
    assert managed.check() == "there is no serving certificate yet: it is being created"
    with capture_logs() as logs:
        task = asyncio.create_task(managed.run(), name="manage")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await resting.wait()
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert slept[:4] == [1, 2, 4, 8]
    assert slept[4:] == [31]
    (warning,) = [one for one in logs if one["log_level"] == "warning"]
    assert warning["error"].endswith("cannot be read: not now")
    events = [one["event"] for one in logs]
    assert events.count("certificate renewal recovered") == 1
    assert managed.check() is None


async def test_nothing_is_written_while_nothing_changes(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    """Replicas that check again write nothing."""
    replica = Replica(client, WallClock(datetime.now(UTC)))
    await replica.managed.settle()
    version = api.store.version
    for _ in range(3):
        await replica.managed.settle()
    assert api.store.version == version


async def test_a_secret_made_beforehand_is_filled(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    """The Secret's labels, type and other keys are kept."""
    api.apply(
        SECRETS,
        {
            "metadata": {"name": SECRET, "namespace": NAMESPACE, "labels": {"a": "b"}},
            "type": "Opaque",
            "data": {"note": "eA=="},
        },
    )
    await Replica(client, WallClock(datetime.now(UTC))).managed.settle()
    obj = api.store.get(SECRETS, NAMESPACE, SECRET)
    assert obj is not None
    assert obj["type"] == "Opaque"
    assert metadata(obj)["labels"] == {"a": "b"}
    assert data(api).keys() == {"note", "ca.crt", "ca.key", "tls.crt", "tls.key"}


async def test_a_secret_of_somebody_else_is_not_overwritten(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    """The error says which Secret it is and what to do, and does not reveal keys."""
    pair = Authority("theirs").issue([NAME])
    secret: Object = {
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "data": msgspec.to_builtins({"tls.crt": pair.certificate, "tls.key": pair.key}),
    }
    api.apply(SECRETS, secret)
    replica = Replica(client, WallClock(datetime.now(UTC)))
    with pytest.raises(KubernetesError, match=f"patch secret {SECRET}") as raised:
        await replica.managed.settle()
    assert "it has no ca.crt" in str(raised.value)
    assert "PRIVATE" not in str(raised.value)
    assert data(api) == {"tls.crt": pair.certificate, "tls.key": pair.key}
    assert replica.pairs == []


async def test_an_expiry_without_renewal_is_reported(client: KubernetesClient) -> None:
    """Readiness reports a certificate that was not renewed in time, until it is renewed."""
    clock = WallClock(datetime.now(UTC))
    replica = Replica(client, clock)
    await replica.managed.settle()
    assert replica.managed.check() is None
    clock.now += timedelta(days=89)
    assert "and was not renewed" in (replica.managed.check() or "")
    clock.now += timedelta(days=2)
    assert "expired at" in (replica.managed.check() or "")
    await replica.managed.settle()
    assert replica.managed.check() is None
    assert len(replica.pairs) == 2


async def test_no_request_fails_through_all_changes(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    """No request fails while pairs and authorities change, on old connections or new ones.

    Two replicas listen; their clients trust the published bundle, as the aggregator does. The
    test simulates a year and a half, with the real lifetimes of certificates.
    """
    clock = WallClock(datetime.now(UTC))
    end = clock.now + timedelta(days=550)
    contexts = [ListeningContext(Authority("before").issue([HOST])) for _ in range(2)]
    managed = [Replica(client, clock, use=context.use_pair) for context in contexts]
    seen: set[bytes] = set()
    async with AsyncExitStack() as stack:
        ports = [
            (await stack.enter_async_context(listening(server(), HOST, 0, context)))[1]
            for context in contexts
        ]
        for one in managed:
            await one.settle()
        caller = await stack.enter_async_context(_trusting(published(api)))
        while clock.now < end:
            until = datetime.max.replace(tzinfo=UTC)
            for one in managed:
                until = min(until, await one.settle())
                await _ask_all(caller, ports)
                caller = await stack.enter_async_context(_trusting(published(api)))
                await _ask_all(caller, ports)
            seen.add(published(api))
            clock.now = until
    assert len(seen) >= 5, "bundles of one authority, of two, and of the other"


def _trusting(bundle: bytes) -> ClientSession:
    context = trusting(bundle)
    # X509_V_FLAG_NO_CHECK_TIME: the certificates are for a simulated time.
    context.verify_flags |= ssl.VerifyFlags(0x200000)
    return ClientSession(
        connector=TCPConnector(ssl=context),
        # Connections of unknown callers are not kept alive.
        headers={"Authorization": "Bearer token"},
    )


async def _ask_all(caller: ClientSession, ports: list[int]) -> None:
    for port in ports:
        async with caller.get(f"https://{HOST}:{port}/", server_hostname=NAME) as response:
            assert await response.text() == "nobody"
