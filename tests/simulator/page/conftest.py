"""A page on real HTTP, for a cluster with a manual HPA."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import TypeVar

import aiohttp
import msgspec
import pytest
from msgspec import Struct

from metrics_server.simulator.autoscaling.hpa import Decision, History
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.controller import Controller, Reading, Sync
from metrics_server.simulator.demo.options import DemoOptions, Signal, Tempo
from metrics_server.simulator.demo.queue import queue
from metrics_server.simulator.demo.scene import Scene
from metrics_server.simulator.demo.utilization import utilization
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.page.live import Page, page
from metrics_server.tls.authority import Authority
from tests.simulator.test_screen import MOMENT

T = TypeVar("T")

SYNC = Sync(6, (Reading("exporters", "6/6"),), Decision(8, MOMENT.reason, (89_600,), (), History()))


class Event(Struct):
    """A Server-Sent Event."""

    name: str
    data: bytes

    def read(self, kind: type[T]) -> T:
        """Its data, decoded as this type."""
        return msgspec.json.decode(self.data, type=kind)


class Visitor:
    """Sends requests like the page's own.

    Args:
        session: sends the requests.
        url: the page's.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url
        self.origin = {"Origin": url.rstrip("/")}

    async def post(
        self, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, object]]:
        """The status and JSON of the response to a change."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **self.origin, **(headers or {})}
        async with self.session.post(self.url + path, data=data, headers=sent) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(text) if is_json else {"text": text}

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """The status and text of a response."""
        async with (
            asyncio.timeout(5),
            self.session.get(self.url + path, headers=headers) as response,
        ):
            return response.status, await response.text()


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """A stream's events, until it ends."""
    name = ""
    async for line in response.content:
        if line.startswith(b"event: "):
            name = line.decode().removeprefix("event: ").rstrip()
        elif line.startswith(b"data: "):
            yield Event(name, line.removeprefix(b"data: "))


class Stage(Struct):
    """A page and its cluster."""

    scene: Scene
    controller: Controller
    page: Page
    visitor: Visitor

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.scene.cluster


@pytest.fixture(scope="session")
def bundle() -> bytes:
    """A CA that the controller could trust."""
    return Authority("kubernetes").bundle


@pytest.fixture
def signal() -> Signal:
    """The signal of the HPA."""
    return "utilization"


@pytest.fixture
async def stage(bundle: bytes, signal: Signal) -> AsyncIterator[Stage]:
    """A page for a cluster of two nodes."""
    options, tempo = DemoOptions(nodes=2, signal=signal), Tempo()
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubernetesAPI())
        opened = (queue if signal == "queue" else utilization)(api, options, tempo)
        scene: Scene = await stack.enter_async_context(opened)
        controller = await stack.enter_async_context(
            Controller(scene.hpa, scene.cluster, api, bundle, time.monotonic)
        )
        live = await stack.enter_async_context(page(scene, controller, 0))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Stage(scene, controller, live, Visitor(session, live.url))


@pytest.fixture
def visitor(stage: Stage) -> Visitor:
    """A visitor of the page."""
    return stage.visitor
