"""The page of a running demo: served on loopback, and opened in a browser."""

import asyncio
import os
import secrets
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from metrics_server.errors import ConfigurationError
from metrics_server.simulator.autoscaling.hpa import PodsMetric
from metrics_server.simulator.controller import Controller, Reading, Sync
from metrics_server.simulator.demo.moments import QueueMoment, UtilizationMoment
from metrics_server.simulator.demo.scene import Scene
from metrics_server.simulator.page import views
from metrics_server.simulator.page.app import application, static_files
from metrics_server.simulator.page.broadcast import Broadcast
from metrics_server.simulator.page.controls import Desk
from metrics_server.simulator.page.wire import End

DEFAULT_PORT = 8470
"""Always the same if it is free, so that an open page finds a demo that is started again."""

_HOST = "127.0.0.1"
_TOO_SHORT = "The demo ended before the HPA's first request."


class Page:
    """The page of a running demo; see `page`.

    Attributes:
        url: where it is.
    """

    def __init__(
        self, url: str, scene: Scene, controller: Controller, desk: Desk, broadcast: Broadcast
    ) -> None:
        self.url = url
        self._scene, self._controller = scene, controller
        self._desk, self._broadcast = desk, broadcast
        self._source: str | None = None

    async def show(self, moment: UtilizationMoment | QueueMoment, sync: Sync) -> None:
        """Show a moment, with the values of single pods as the server measures them."""
        pods = await self._pods(sync.readings[0])
        seen = views.Seen(moment, sync, pods, self._desk.controls, self._source)
        self._broadcast.show(views.moment(self._scene, seen))
        self._source = views.source_of(moment)

    async def _pods(self, reading: Reading) -> Mapping[str, int]:
        """Return the milli-value of each pod; an External metric has only one for all."""
        metric = self._scene.hpa.metrics[0]
        if reading.by_pod or (reading.source == "error" and isinstance(metric, PodsMetric)):
            return reading.by_pod
        return await self._controller.read_pods(PodsMetric(metric.name, metric.target))

    def end(self, syncs: Sequence[Sync]) -> None:
        """Say that the demo has ended, and what happened."""
        self._broadcast.end(End(self._scene.summary(syncs) if syncs else _TOO_SHORT))


@asynccontextmanager
async def page(scene: Scene, controller: Controller, port: int | None) -> AsyncIterator[Page]:
    """Serve the page of a demo while the context lasts.

    Args:
        scene: the cluster under a load.
        controller: the controller of its HPA.
        port: 0 for any free one; None for `DEFAULT_PORT`, or any free one if that is taken.

    Raises:
        ConfigurationError: the port is not available.
    """
    desk = Desk(scene, controller)
    broadcast = Broadcast(views.setup(scene, desk.bounds, secrets.token_hex(8)))
    static = await asyncio.to_thread(static_files)
    # Closing must not wait long for a page that does not read.
    runner = web.AppRunner(
        application(static, broadcast, desk),
        access_log=None,
        shutdown_timeout=0.5,
        handler_cancellation=True,
    )
    await runner.setup()
    try:
        url = await _listen(runner, port)
        yield Page(url, scene, controller, desk, broadcast)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int | None) -> str:
    wanted = DEFAULT_PORT if port is None else port
    try:
        await web.TCPSite(runner, _HOST, wanted).start()
    except OSError as error:
        if port is not None:
            reason = error.strerror or error
            raise ConfigurationError(
                f"--page-port {port}: cannot listen on {_HOST}: {reason}; "
                "choose another port, or 0 for any free one"
            ) from error
        await web.TCPSite(runner, _HOST, 0).start()
    return f"http://{_HOST}:{runner.addresses[0][1]}/"


def open_in_browser(url: str) -> bool:
    """Open a URL in the user's browser, or return False if there is no display."""
    if sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    ):
        return False
    # Some browsers block for as long as they are open; the demo must not wait for them to end.
    threading.Thread(target=webbrowser.open, args=(url,), name="open-browser", daemon=True).start()
    return True
