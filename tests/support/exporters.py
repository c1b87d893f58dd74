"""Exporters whose pages a test writes."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Self

from aiohttp import web


def page(
    gpus: Mapping[tuple[str, str], Sequence[float]], family: str = "DCGM_FI_DEV_GPU_UTIL"
) -> str:
    """The page of an exporter: by (namespace, name) of a pod, a value for each of its GPUs."""
    rows = [(namespace, name, v) for (namespace, name), vs in gpus.items() for v in vs]
    return f"# TYPE {family} gauge\n" + "".join(
        f'{family}{{gpu="{i}",UUID="GPU-{i}",namespace="{namespace}",pod="{name}"}} {value}\n'
        for i, (namespace, name, value) in enumerate(rows)
    )


class PageExporter:
    """An exporter that serves a page as it is; an asynchronous context manager.

    Attributes:
        page: what it serves.
        status: the HTTP status that it serves it with.
        scrapes: how many times it was asked.
        may_answer: while it is not set, no answer comes.
        context: serves TLS, if it is set before the exporter starts.
    """

    def __init__(self, text: str, context: ssl.SSLContext | None = None) -> None:
        self.page = text
        self.context = context
        self.status = 200
        self.scrapes = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.context).start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self.port}/metrics"

    async def _answer(self, _: web.Request) -> web.Response:
        self.scrapes += 1
        await self.may_answer.wait()
        return web.Response(text=self.page, status=self.status)
