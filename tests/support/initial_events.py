"""A Kubernetes API that streams arbitrary text as a watch with initial events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, repeat
from pathlib import Path

from aiohttp import web

from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.objects import Object, metadata
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected, serving
from tests.support.reflecting import pod


def line(kind: str, obj: Object) -> str:
    """A watch event."""
    return json.dumps({"type": kind, "object": obj}) + "\n"


def versioned(name: str, version: int) -> Object:
    """A Pod at a version; "strange" cannot be decoded."""
    made = pod(name, gpus="many" if name == "strange" else "1")
    metadata(made)["resourceVersion"] = str(version)
    return made


END = line(
    "BOOKMARK",
    {"metadata": {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}},
)


@asynccontextmanager
async def streaming(
    text: str | None, folder: Path, every: float = 0
) -> AsyncIterator[KubernetesClient]:
    """A client of an API that streams this text, and lists one pod.

    Args:
        text: the stream's text; None sends not even headers.
        folder: for the kubeconfig.
        every: seconds between two lines, the last of which repeats; 0 sends all at
            once.
    """
    listed = {"metadata": {"resourceVersion": "9"}, "items": [versioned("listed", 8)]}

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response(listed)
        response = web.StreamResponse()
        if text is None:
            await asyncio.Event().wait()
        await response.prepare(request)
        if "sendInitialEvents" in request.query:
            lines = (text or "").encode().splitlines(keepends=True)
            for one in chain(lines, repeat(lines[-1])) if every else lines:
                await response.write(one)
                await asyncio.sleep(every)
        await asyncio.Event().wait()
        return response

    async with (
        serving(answer) as url,
        connected(write_kubeconfig(folder / "streaming", url)) as client,
    ):
        yield client
