"""Conditions of pods, and waiting for them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus

from metrics_server.errors import KubernetesError
from metrics_server.simulator.kube.objects import Object
from tests.cluster.pods import Pod

STEP_SECONDS = 0.2


def is_server(pod: Pod) -> bool:
    """Whether a pod runs the server."""
    return "gpu-metrics-server" in pod.container.image and not pod.container.command


async def wait(event: asyncio.Event) -> None:
    """Wait a step, or until the event."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), STEP_SECONDS)


def condition(kind: str, *, holds: bool) -> Object:
    """A condition of a pod, as of now."""
    return {
        "type": kind,
        "status": str(holds),
        "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


@contextmanager
def unless_gone() -> Iterator[None]:
    """Ignore a pod that is gone, or has been replaced by now."""
    try:
        yield
    except KubernetesError as error:
        if error.code not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
            raise
