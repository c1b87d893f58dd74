"""A reflector that never really waits, and its requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod, pod_decoder
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import Object

PATH = "/api/v1/pods"

decode = pod_decoder()


def pod(name: str, gpus: str = "1") -> Object:
    """A Pod with a GPU."""
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "a"}},
        "spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": gpus}}}]},
        "status": {"phase": "Running"},
    }


def names(store: PodStore) -> set[str]:
    """The names of the pods in the default namespace."""
    return {found.name for found in store.in_namespace("default")}


class Naps:
    """Replaces sleep: records the duration, and returns when allowed to.

    Attributes:
        seconds: the duration of each.
        may_go_on: while it is not set, no nap ends.
        last: the number of the nap that clears it.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def __call__(self, seconds: float) -> None:
        """Sleep."""
        self.seconds.append(seconds)
        if len(self.seconds) == self.last:
            self.may_go_on.clear()
        await asyncio.sleep(0)
        await self.may_go_on.wait()


@asynccontextmanager
async def running(reflector: Reflector[Pod]) -> AsyncIterator[None]:
    """A reflector at work."""
    task = asyncio.create_task(reflector.run(), name="reflector under test")
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def lists(api: KubernetesAPI) -> list[dict[str, str]]:
    """The queries of the list requests."""
    return [dict(url.query) for url in api.requests if "watch" not in url.query]


def watches(api: KubernetesAPI) -> list[dict[str, str]]:
    """The queries of the watches that continued from a version."""
    return [query for query in _watches(api) if "sendInitialEvents" not in query]


def streams(api: KubernetesAPI) -> list[dict[str, str]]:
    """The queries of the watches with initial events."""
    return [query for query in _watches(api) if "sendInitialEvents" in query]


def _watches(api: KubernetesAPI) -> list[dict[str, str]]:
    return [dict(url.query) for url in api.requests if "watch" in url.query]
