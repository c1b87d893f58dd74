"""A Kubernetes API that reviews tokens."""

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from metrics_server.auth.identity import User
from metrics_server.auth.tokens import TOKEN_REVIEWS
from metrics_server.simulator.kube.api import Handler
from tests.support.waiting import until

if TYPE_CHECKING:
    from metrics_server.simulator.kube.objects import Object

ALICE = User("alice", uid="1", groups=("dev", "system:authenticated"), extra=(("k", ("v", "w")),))


class Door:
    """Wraps a handler of reviews.

    Attributes:
        bodies: the requests.
        open: while it is not set, nothing is answered.
        answer: the handler.
    """

    def __init__(self, answer: Handler) -> None:
        self.bodies: list[Object] = []
        self.open = asyncio.Event()
        self.open.set()
        self.answer = answer

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """The answer, once it may be sent."""
        assert (request.method, request.path) == ("POST", TOKEN_REVIEWS)
        self.bodies.append(await request.json())
        await self.open.wait()
        return await self.answer(request)

    async def asked(self, times: int) -> None:
        """Return once there have been this many requests."""
        await until(lambda: len(self.bodies) >= times)

    def always(self, body: object, status: int = 201) -> None:
        """Answer everything with this."""

        async def answer(_: web.Request) -> web.Response:
            return web.json_response(body, status=status)

        self.answer = answer
