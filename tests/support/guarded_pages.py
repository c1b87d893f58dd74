"""Pods whose pages require credentials, in the cluster of a whole server."""

import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from metrics_server.simulator.kube.objects import Json, Object
from tests.support.exporters import PageExporter
from tests.support.harness import Cluster, cluster, configuration
from tests.support.objects import pod

SECRET = "s3cr3t-t0k3n"  # noqa: S105 - a secret to look for where it must not be
EPP = (Path(__file__).parents[1] / "data" / "engines" / "epp.prom").read_text("utf-8")
QUEUE = "inference_queue_size"


class GuardedPage(PageExporter):
    """An endpoint picker's page, which requires a token.

    Attributes:
        wanted: the token.
        shown: the Authorization header of each request.
        location: where it redirects to; "" for nowhere.
    """

    def __init__(self, context: ssl.SSLContext | None = None, text: str = EPP) -> None:
        super().__init__(text, context)
        self.wanted = SECRET
        self.shown: list[str | None] = []
        self.location = ""

    async def _answer(self, request: web.Request) -> web.Response:
        self.shown.append(request.headers.get("Authorization"))
        if self.location:
            return web.Response(status=302, headers={"Location": self.location})
        if self.shown[-1] != f"Bearer {self.wanted}":
            return web.Response(status=401)
        return await super()._answer(request)


def serving(
    name: str,
    ports: Iterable[int],
    *,
    namespace: str = "gateway",
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """A pod on loopback that declares these ports; the first is named metrics."""
    made = pod(name, namespace=namespace, labels={"app": "epp"}, gpus=0)
    assert isinstance(made["metadata"], dict)
    assert isinstance(made["spec"], dict)
    assert isinstance(made["status"], dict)
    made["metadata"]["annotations"] = {**(annotations or {})}
    declared: list[Json] = [
        {"name": f"rank-{number}" if number else "metrics", "containerPort": port}
        for number, port in enumerate(ports)
    ]
    made["spec"]["containers"] = [{"name": "epp", "ports": declared}]
    made["status"]["podIP"] = "127.0.0.1"
    return made


@asynccontextmanager
async def serving_pages(
    pages: Mapping[str, PageExporter],
    endpoints: Iterable[Mapping[str, object]],
    *,
    annotations: Mapping[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> AsyncIterator[Cluster]:
    """A server in a cluster of pods with these pages.

    Args:
        pages: by the pod's "NAMESPACE/NAME".
        endpoints: the entries of `podPages.endpoints`.
        annotations: for each pod.
        settings: the server's other settings.
    """
    async with AsyncExitStack() as stack:
        pods: list[Object] = []
        for key, page in pages.items():
            await stack.enter_async_context(page)
            namespace, _, name = key.partition("/")
            pods.append(serving(name, [page.port], namespace=namespace, annotations=annotations))
        config = configuration(
            {
                "podPages": {"networks": ["127.0.0.0/8"], "endpoints": [*endpoints]},
                "exporters": {"maxAge": "50ms"},
                **(settings or {}),
            }
        )
        yield await stack.enter_async_context(cluster({}, pods, config))
