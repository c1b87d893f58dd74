"""Events on a real socket, against a server that answers as a Kubernetes API does."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.events import MAX_MESSAGE_BYTES, Events, Regarding
from tests.support.clock import Clock
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected

HPA = Regarding("autoscaling/v2", "HorizontalPodAutoscaler", "inference", "team", "u-1")
API_SERVICE = Regarding("apiregistration.k8s.io/v1", "APIService", "v1beta1.external.metrics")
# RFC 1123, as kube-apiserver checks object names.
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
MOST_CHARACTERS = 253


class EventApi:
    """Stores events by namespace and name; an asynchronous context manager.

    Attributes:
        requests: the number of requests.
        events: the created events, oldest first.
        failing: the status of every answer, and its message; None to create.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.events: list[dict[str, object]] = []
        self.failing: tuple[int, str] | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/api/v1/namespaces/{namespace}/events", self._create)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _create(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.failing is not None:
            code, message = self.failing
            return web.json_response({"kind": "Status", "message": message}, status=code)
        event = msgspec.json.decode(await request.read(), type=dict[str, object])
        names = [one["metadata"] for one in self.events]
        if event["metadata"] in names:
            return web.json_response({"kind": "Status", "message": "already exists"}, status=409)
        assert f"/{meta(event)['namespace']}/" in request.path
        self.events.append(event)
        return web.json_response(event, status=201)


def meta(event: dict[str, object]) -> dict[str, str]:
    """The metadata of an event."""
    return msgspec.convert(event["metadata"], dict[str, str])


@pytest.fixture
async def api() -> AsyncIterator[EventApi]:
    """The API."""
    async with EventApi() as running:
        yield running


@pytest.fixture
async def client(api: EventApi, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client of the API."""
    async with connected(write_kubeconfig(tmp_path / "kubeconfig", api.url)) as made:
        yield made


async def test_an_event_has_what_kubectl_shows(
    client: KubernetesClient, api: EventApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event has its reporter, message, object, time and count."""
    monkeypatch.setenv("HOSTNAME", "gpu-metrics-server-0")
    await Events(client).warn(HPA, "MeanUnderAverageValue", "use type: Value")
    (event,) = api.events
    name = meta(event)["name"]
    first = event.pop("firstTimestamp")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "team"},
        "involvedObject": {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "name": "inference",
            "namespace": "team",
            "uid": "u-1",
        },
        "reason": "MeanUnderAverageValue",
        "message": "use type: Value",
        "type": "Warning",
        "source": {"component": "gpu-metrics-server"},
        "reportingComponent": "gpu-metrics-server",
        "reportingInstance": "gpu-metrics-server-0",
        "lastTimestamp": first,
        "count": 1,
        "eventTime": None,
    }
    assert name.startswith("inference.")
    at = datetime.fromisoformat(msgspec.convert(first, str))
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)


async def test_an_event_about_a_cluster_scoped_object_is_in_default(
    client: KubernetesClient, api: EventApi
) -> None:
    """kube-apiserver rejects an event in another namespace than its object's, except this one."""
    await Events(client).warn(API_SERVICE, "Overwritten", "by KEDA")
    (event,) = api.events
    assert meta(event)["namespace"] == "default"
    involved = msgspec.convert(event["involvedObject"], dict[str, str])
    assert involved.keys() == {"apiVersion", "kind", "name"}


async def test_the_same_event_is_sent_once_an_hour(client: KubernetesClient, api: EventApi) -> None:
    """Another reason, message or object is another event; simultaneous ones are one, too."""
    clock = Clock()
    events = Events(client, clock=clock)
    await asyncio.gather(*(events.warn(HPA, "A", "x") for _ in range(3)))
    clock.advance(3599)
    await events.warn(HPA, "A", "x")
    assert api.requests == 1
    for other in ((HPA, "B", "x"), (HPA, "A", "y"), (API_SERVICE, "A", "x")):
        await events.warn(*other)
    assert api.requests == 4
    clock.advance(2)
    api.events.clear()  # events expire after an hour
    await events.warn(HPA, "A", "x")
    assert len(api.events) == 1


async def test_replicas_emit_an_event_once(client: KubernetesClient, api: EventApi) -> None:
    """The second finds the first one's event, accepts it, and does not ask again."""
    first, second = Events(client), Events(client)
    with capture_logs() as logs:
        for replica in (first, second, second):
            assert await replica.warn(HPA, "A", "x")
    assert len(api.events) == 1
    assert api.requests == 2
    assert logs == []


async def test_a_failure_is_logged_once_and_the_event_sent_later(
    client: KubernetesClient, api: EventApi
) -> None:
    """Nothing is raised, and a 403 is logged with advice."""
    events = Events(client)
    api.failing = 403, "events is forbidden"
    with capture_logs() as logs:
        for message in ("x", "x", "y"):
            assert not await events.warn(HPA, "A", message)
        assert api.requests == 3
        api.failing = None
        assert await events.warn(HPA, "A", "x")
    assert len(api.events) == 1
    warning, recovered = logs
    assert warning["log_level"] == "warning"
    assert warning["event"] == "events not emitted"
    assert warning["error"].startswith("events is forbidden; apply the manifests again")
    assert warning["regarding"] == "HorizontalPodAutoscaler team/inference"
    assert recovered["event"] == "events can be emitted again"


async def test_an_api_that_is_away_raises_nothing(tmp_path: Path, unused_tcp_port: int) -> None:
    """No answer is a failure like any other."""
    kubeconfig = write_kubeconfig(tmp_path / "k", f"http://127.0.0.1:{unused_tcp_port}")
    async with connected(kubeconfig) as client:
        with capture_logs() as logs:
            await Events(client).warn(API_SERVICE, "A", "x")
    (warning,) = logs
    assert "cannot be reached" in warning["error"]
    assert warning["regarding"] == "APIService v1beta1.external.metrics"


class Recorder:
    """Records what would be sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []

    async def send(
        self,
        method: str,
        path: str,
        body: object,
        *,
        timeout: float,  # noqa: ASYNC109 - as in the client
    ) -> bytes:
        """Record it."""
        assert (method, timeout > 0) == ("POST", True)
        assert path.startswith("/api/v1/namespaces/")
        self.bodies.append(msgspec.convert(body, dict[str, object]))
        return b""


@pytest.mark.parametrize(
    "name", ["a", "a" * 253, "a" * 199 + "-" + "b" * 53, f"{'a' * 198}-.{'b' * 53}"]
)
async def test_names_are_within_the_limits_of_the_api(name: str) -> None:
    """Any object's name is cut to fit; the last is invalid, but shows that all is cut off."""
    recorder = Recorder()
    await Events(recorder).warn(Regarding("v1", "X", name), "A", "x")
    made = meta(recorder.bodies[0])["name"]
    assert SUBDOMAIN.fullmatch(made)
    assert len(made) <= MOST_CHARACTERS


@given(st.sampled_from("xé€𝄞"), st.integers(0, 3), st.integers(0, 3000))
async def test_messages_are_cut_between_characters(kind: str, before: int, times: int) -> None:
    """Messages are whole if they fit, or else as long as fits."""
    message = "x" * before + kind * times
    recorder = Recorder()
    await Events(recorder).warn(HPA, "A", message)
    sent = msgspec.convert(recorder.bodies[0]["message"], str)
    assert len(sent.encode()) <= MAX_MESSAGE_BYTES
    if len(message.encode()) <= MAX_MESSAGE_BYTES:
        assert sent == message
    else:
        assert sent.endswith("…")
        assert message.startswith(sent.removesuffix("…"))
        assert len(sent.encode()) > MAX_MESSAGE_BYTES - 4
