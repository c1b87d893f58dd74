"""Exporters whose pages are written by a test."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Self

from aiohttp import web


def page(
    gpus: Mapping[tuple[str, str], Sequence[float]], family: str = "DCGM_FI_DEV_GPU_UTIL"
) -> str:
    """An exporter's page, from the values of each pod's GPUs, by (namespace, name)."""
    rows = [(namespace, name, v) for (namespace, name), vs in gpus.items() for v in vs]
    return f"# TYPE {family} gauge\n" + "".join(
        f'{family}{{gpu="{i}",UUID="GPU-{i}",namespace="{namespace}",pod="{name}"}} {value}\n'
        for i, (namespace, name, value) in enumerate(rows)
    )


class PageExporter:
    """An exporter that serves a given page; an asynchronous context manager.

    Attributes:
        page: the page.
        status: the HTTP status of the answer.
        scrapes: how many requests it received.
        may_answer: while it is not set, nothing is answered.
        context: for TLS, if set before the exporter starts.
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
        """The URL of its page."""
        return f"http://127.0.0.1:{self.port}/metrics"

    async def _answer(self, _: web.Request) -> web.Response:
        self.scrapes += 1
        await self.may_answer.wait()
        return web.Response(text=self.page, status=self.status)
