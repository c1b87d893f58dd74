"""A metrics API with answers set by a test, for the simulated HPA controller."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from metrics_server.simulator.kube.objects import Object


class MetricsApi:
    """Returns configured answers, and records requests."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.status, self.body = 200, b""

    async def __call__(self, request: web.Request) -> web.Response:
        """The answer."""
        self.asked.append((request.raw_path, request.headers.get("Accept")))
        return web.Response(status=self.status, body=self.body)

    def answer(self, kind: str, items: Sequence[Object]) -> None:
        """Answer with a list from now on."""
        self.status, self.body = 200, msgspec.json.encode({"kind": kind, "items": items})

    def fail(self, message: str) -> None:
        """Answer with an error from now on."""
        self.status, self.body = 503, msgspec.json.encode({"kind": "Status", "message": message})
