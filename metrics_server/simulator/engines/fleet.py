"""The engines in the pods of a simulated Deployment, and their gateway, on real sockets."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Self

from metrics_server.simulator.engines.pages import Flow, gateway_page, vllm_page
from metrics_server.simulator.engines.traffic import Engine, Traffic
from metrics_server.simulator.gpus.workload import SimulatedPod
from metrics_server.simulator.pages import PageServer

MODEL = "acme/chat-8b"
POOL = "chat-pool"


class _Page(PageServer):
    """A page that is rendered at each scrape."""

    def __init__(self, render: Callable[[], str]) -> None:
        super().__init__()
        self._render = render

    def page(self) -> str:
        """Return the page as it is now."""
        return self._render()


class Fleet:
    """Engines and their gateway; an asynchronous context manager, in which they listen.

    There is an engine for each GPU, in the pod that has the GPU. The fleet is also the load of a
    `Cluster`: a GPU is busy all the time if its engine has a single request.

    Args:
        traffic: the requests.
        gpus: the UUIDs of all GPUs.
    """

    seed = 0
    noise = 0.0

    def __init__(self, traffic: Traffic, gpus: Sequence[str]) -> None:
        self.traffic = traffic
        self._pods: Mapping[str, SimulatedPod] = {}
        self._pages = {gpu: _Page(partial(self._engine_page, gpu)) for gpu in gpus}
        self._gateway = _Page(self._gateway_page)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for page in (self._gateway, *self._pages.values()):
            await self._stack.enter_async_context(page)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def gateway_port(self) -> int:
        """The port of the gateway's page."""
        return self._gateway.port

    def port_of(self, pod: SimulatedPod) -> int:
        """Return the port of the page of a pod's engine."""
        return self._pages[pod.gpus[0]].port

    def advance(self, time: float, pods: Sequence[SimulatedPod]) -> None:
        """Let requests arrive and be answered.

        Args:
            time: until when, in seconds.
            pods: the pods of the Deployment; those that are Ready get requests.
        """
        self._pods = {pod.gpus[0]: pod for pod in pods}
        self.traffic.advance(time, [pod.name for pod in pods if pod.ready])

    def shares(self, pods: Sequence[SimulatedPod], _: float) -> Mapping[str, float]:
        """Return how busy the GPU of each pod is: entirely, or not at all."""
        return {pod.name: 100.0 if self._engine(pod).requests else 0.0 for pod in pods}

    def _engine(self, pod: SimulatedPod) -> Engine:
        return self.traffic.engines.get(pod.name, Engine())

    def _engine_page(self, gpu: str) -> str:
        pod = self._pods.get(gpu)
        return "" if pod is None else vllm_page(self._engine(pod), MODEL)

    def _gateway_page(self) -> str:
        traffic = self.traffic
        running = traffic.in_flight if traffic.arrived > traffic.held else None
        return gateway_page({MODEL: Flow(POOL, len(traffic.engines), traffic.held, running)})
