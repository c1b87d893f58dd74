"""The page of a complete demo, with answers from the real server."""

import asyncio
import os
import re
import signal
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import aiohttp
import pytest
from aiohttp.test_utils import unused_port
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.errors import ConfigurationError
from metrics_server.simulator.demo.options import DemoOptions, Tempo
from metrics_server.simulator.demo.run import demo
from metrics_server.simulator.page import live
from metrics_server.simulator.page.wire import End, Moment
from tests.simulator.page.conftest import Visitor, events
from tests.simulator.test_queue_demo import QUICK as QUICK_QUEUE
from tests.support.demos import QUICK
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

PAGE = DemoOptions(nodes=2, page=True, page_port=0)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Returns all output so far."""
    text = ""

    def read() -> str:
        nonlocal text
        text += capsys.readouterr().out
        return text

    return read


class Watcher(Visitor):
    """A visitor that follows every moment of a page."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        super().__init__(session, url)
        self._response: aiohttp.ClientResponse | None = None

    async def until(self, holds: Callable[[Moment], bool]) -> Moment:
        """The next moment that satisfies a condition."""
        if self._response is None:
            self._response = await self.session.get(self.url + "events")
        async for event in events(self._response):
            if event.name == "moment" and holds(moment := event.read(Moment)):
                return moment
        raise AssertionError("the stream ended")

    def close(self) -> None:
        """Stop following."""
        if self._response is not None:
            self._response.close()


@asynccontextmanager
async def running(
    options: DemoOptions, printed: Callable[[], str], tempo: Tempo = QUICK
) -> AsyncIterator[Watcher]:
    """A demo with its page, and a visitor; interrupted at the end."""
    with capture_logs():
        task = asyncio.create_task(demo(options, tempo))
        try:
            async with asyncio.timeout(20), aiohttp.ClientSession() as session:
                while not (found := re.search(r"^  (http://127\S+/)  ", printed(), re.MULTILINE)):
                    assert not task.done(), task
                    await asyncio.sleep(0.01)
                with closing(Watcher(session, found[1])) as watcher:
                    yield watcher
        finally:
            # A demo that is about to end no longer handles the signal.
            if options.duration is None and not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            await task


def ready(moment: Moment) -> list[float | None]:
    """The measured values of Ready pods."""
    return [pod.value for node in moment.nodes for pod in node.pods if pod.state == "ready"]


async def test_the_page_shows_what_the_server_measures(printed: Callable[[], str]) -> None:
    """Each pod's value, and the mean that the HPA receives; the terminal shows it too."""
    async with running(PAGE, printed) as visitor:
        moment = await visitor.until(lambda m: None not in ready(m) and m.point.seconds > 0)
        values = [value for value in ready(moment) if value is not None]
        assert len(values) > 1
        assert moment.point.source == "exporters"
        assert all(node.scrapes for node in moment.nodes)
        assert len([step for step in moment.steps if step.value]) == 5
        assert moment.questions[0].startswith("/apis/custom.metrics.k8s.io/v1beta2/")
    assert "  shows it in a browser\n" in printed()
    assert "  source exporters " in printed()
    assert "The HPA requested the metric " in printed()


async def test_the_load_scales(printed: Callable[[], str]) -> None:
    """Half a GPU of load takes one replica, eight GPUs take all; the HPA's maximum holds."""
    async with running(PAGE, printed) as visitor:
        await visitor.post("load", {"amount": 0.5})
        await visitor.until(lambda m: m.verdict.after == 1)
        await visitor.post("load", {"amount": 8})
        moment = await visitor.until(lambda m: m.verdict.after == 8)
        assert moment.controls.load == 8
        change = {
            "metricType": "pods",
            "target": 70,
            "minReplicas": 1,
            "maxReplicas": 3,
            "window": 0,
            "scaleUpPods": None,
        }
        await visitor.post("hpa", change)
        await visitor.until(lambda m: m.verdict.after == 3)


async def test_the_target_and_the_type_change_the_decisions(printed: Callable[[], str]) -> None:
    """The next decisions use the new target, and the other API."""
    async with running(PAGE, printed) as visitor:
        change = {
            "metricType": "external",
            "target": 31,
            "minReplicas": 1,
            "maxReplicas": 8,
            "window": 0,
            "scaleUpPods": 1,
        }
        assert (await visitor.post("hpa", change))[0] == 200
        moment = await visitor.until(lambda m: "target of 31" in m.verdict.reason)
        assert moment.point.values["target"] == 31
        assert moment.questions[0].startswith("/apis/external.metrics.k8s.io/v1beta1/")


async def test_a_fault_is_shown_for_what_it_is(printed: Callable[[], str]) -> None:
    """Pods lose their values; an External metric is last-known or simulated, and says so."""
    options = structs.replace(PAGE, metric_type="external")
    # Long enough to be seen on a busy machine.
    tempo = structs.replace(QUICK, last_known=1)
    async with running(options, printed, tempo) as visitor:
        # At the target, or the last known value would scale, and a simulated one could not follow.
        await visitor.post("load", {"amount": 2.8})
        await visitor.until(lambda m: "stays at 4" in m.verdict.reason)
        await visitor.post("fault", {"kind": "error", "exporters": 2})
        known = await visitor.until(lambda m: m.point.source == "last-known")
        assert known.nodes[0].fault == "error"
        made_up = await visitor.until(lambda m: m.point.source == "simulated")
        assert set(ready(made_up)) == {None}
        _, utilization, answer, *_ = made_up.steps
        assert (utilization.value, utilization.note) == ("", "no pod is measured")
        assert (answer.source, answer.note) == ("simulated", "made up: nothing is measured")
        await visitor.post("fault", {"kind": None, "exporters": 2})
        await visitor.until(lambda m: m.point.source == "exporters")


async def test_an_error_is_a_gap(printed: Callable[[], str]) -> None:
    """A Pods metric has no fallback: there is no value, only the error."""
    async with running(PAGE, printed) as visitor:
        await visitor.until(lambda m: m.point.source == "exporters")
        await visitor.post("fault", {"kind": "down", "exporters": 2})
        moment = await visitor.until(lambda m: m.point.source == "error")
        assert moment.point.values["value"] is None
        assert moment.steps[2].note == "an error, and no number"
        assert moment.steps[3].source == "error"
        assert "unable to fetch metrics" in moment.verdict.reason


async def test_the_queue_goes_to_zero(printed: Callable[[], str]) -> None:
    """Without pods there is no value, and no error; the gateway's queue brings them back."""
    options = structs.replace(PAGE, signal="queue")
    async with running(options, printed, QUICK_QUEUE) as visitor:
        await visitor.post("load", {"amount": 0})
        asleep = await visitor.until(lambda m: m.point.source == "no-pods")
        assert asleep.steps[2].note == "without pods there is no value"
        assert asleep.steps[4].note == "scaled to zero"
        assert len(asleep.questions) == 3
        await visitor.post("load", {"amount": 20})
        await visitor.until(lambda m: m.verdict.before == 0 < m.verdict.after)


async def test_the_page_is_notified_of_the_end(printed: Callable[[], str]) -> None:
    """The demo ends after its duration, and the stream with its summary."""
    async with (
        running(structs.replace(PAGE, duration=1.5), printed) as visitor,
        visitor.session.get(visitor.url + "events") as response,
    ):
        *_, end = [event async for event in events(response)]
    assert end.name == "end"
    assert end.read(End).summary in printed()


async def test_an_open_page_does_not_keep_the_demo(printed: Callable[[], str]) -> None:
    """An unread stream and a silent connection are closed at the end."""
    loop = asyncio.get_running_loop()
    async with running(PAGE, printed) as visitor:
        await visitor.until(lambda _: True)
        port = int(visitor.url.rstrip("/").rpartition(":")[2])
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        _, deaf = await asyncio.open_connection("127.0.0.1", port)
        deaf.write(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        await deaf.drain()
        began = loop.time()
    assert loop.time() - began < 5
    silent.close()
    deaf.close()


async def test_a_port_that_is_taken() -> None:
    """If it was requested, the error names the flag."""
    port = unused_port()
    taken = await asyncio.start_server(lambda _, __: None, "127.0.0.1", port)
    async with taken:
        with capture_logs(), pytest.raises(ConfigurationError, match=f"--page-port {port}: "):
            await demo(structs.replace(PAGE, page_port=port), QUICK)


async def test_the_usual_port_or_any_other(
    printed: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default it is always the same if free, so that an open page finds it."""
    port = unused_port()
    monkeypatch.setattr(live, "DEFAULT_PORT", port)
    options = structs.replace(PAGE, page_port=None)
    async with running(options, printed) as visitor:
        assert visitor.url == f"http://127.0.0.1:{port}/"
    taken = await asyncio.start_server(lambda _, __: None, "127.0.0.1", port)
    async with taken:
        await demo(structs.replace(options, duration=0), QUICK)
    ports = re.findall(r"^  http://127\.0\.0\.1:(\d+)/", printed(), re.MULTILINE)
    assert ports[0] == str(port) != ports[1]


async def test_it_opens_a_browser_where_there_is_a_display(
    printed: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one it only prints the URL: a text browser would not do."""
    opened: list[tuple[str, str]] = []
    monkeypatch.setattr(
        webbrowser, "open", lambda url: opened.append((url, threading.current_thread().name))
    )
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    options = structs.replace(PAGE, page=False, open=True)

    async def threads() -> list[tuple[str, str]]:
        return opened

    async with running(options, printed) as visitor:
        assert f"  {visitor.url}  shows it in a browser\n" in printed()
    assert not opened
    monkeypatch.setenv("DISPLAY", ":0")
    async with running(structs.replace(options, nodes=1), printed):
        await eventually(threads, bool)
    assert "  is open in a browser\n" in printed()
    assert opened[0][1] == "open-browser"
