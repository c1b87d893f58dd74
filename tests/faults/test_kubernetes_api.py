"""Each way that the Kubernetes API can fail, with a whole server: its effects and its end."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

import metrics_server.auth.delegation
import metrics_server.kube.client
import metrics_server.kube.initial
import metrics_server.kube.paging
import metrics_server.kube.reflector
from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.objects import PODS
from metrics_server.wiring.server import running
from tests.faults.api_behaviours import LONGEST_WAIT, OLD, PATHS, STARTED, UNKNOWN
from tests.faults.api_faults import FAULTS, ApiFault
from tests.faults.api_proxy import Behind, behind_proxy
from tests.faults.raw import census, logged, settled
from tests.support.clients import Answer, Client
from tests.support.harness import admin, client_of, configuration
from tests.support.objects import pod
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

T = TypeVar("T")

CONFIG = configuration({"exporters": {"maxAge": "1ms"}})
# Still long enough for an answer on a busy machine.
SOON_SECONDS = 1.5


class Timing:
    """The reflectors' timing: a clock that can be set forward, and short waits.

    Attributes:
        ahead: how many seconds the clock is ahead.
        waits: the requested waits, in seconds.
    """

    def __init__(self) -> None:
        self.ahead = 0.0
        self.waits: list[float] = []

    def clock(self) -> float:
        """The time."""
        return time.monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        """Record the wait, and yield to others."""
        self.waits.append(seconds)
        await asyncio.sleep(0.01)


@pytest.fixture
def timing(monkeypatch: pytest.MonkeyPatch) -> Timing:
    """The timing of every reflector; all waits are short."""
    timing = Timing()
    defaults = Reflector.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "clock", timing.clock)
    monkeypatch.setitem(defaults, "sleep", timing.sleep)
    monkeypatch.setitem(defaults, "grace", SOON_SECONDS)
    monkeypatch.setattr(metrics_server.kube.reflector, "_BOOKMARK_SECONDS", SOON_SECONDS)
    monkeypatch.setattr(metrics_server.kube.paging, "_LIST_SECONDS", SOON_SECONDS)
    monkeypatch.setattr(metrics_server.kube.initial, "_PAUSE_SECONDS", SOON_SECONDS)
    monkeypatch.setattr(metrics_server.kube.reflector, "_OPENING_SECONDS", SOON_SECONDS)
    monkeypatch.setattr(metrics_server.kube.reflector, "_BRIEF_SECONDS", 0.02)
    # Two pods take two pages.
    monkeypatch.setattr(metrics_server.kube.paging, "PAGE_SIZE", 1)
    monkeypatch.setattr(metrics_server.kube.client, "_OPEN_SECONDS", SOON_SECONDS)
    monkeypatch.setattr(metrics_server.auth.delegation, "_READ_SECONDS", SOON_SECONDS)
    return timing


def told(answer: Answer) -> str:
    """The value, or the error's code and message."""
    if answer.status == 200:
        return answer.item().value
    status = answer.error()
    return re.sub(r"\d+ seconds", "N seconds", f"{status.code} {status.message}")


async def ask(client: Client) -> str:
    """What the HPA gets."""
    return told(await client.metric("default", "gpu_utilization", "app=inference"))


async def begin(fault: ApiFault, behind: Behind) -> None:
    """Let a fault begin."""
    behind.proxy.fault = fault.behave
    if fault.behave is None:
        await behind.proxy.stop()
    else:
        await behind.proxy.cut()


async def end(behind: Behind) -> None:
    """Let it end."""
    behind.proxy.fault = None
    await behind.proxy.start()


async def once_synced(synced: Sequence[asyncio.Event]) -> None:
    """Wait until all is synced."""
    for one in synced:
        await asyncio.wait_for(one.wait(), 15)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.id))
async def test_while_it_runs(
    fault: ApiFault, tmp_path: Path, timing: Timing, caplog: pytest.LogCaptureFixture
) -> None:
    """The last value is repeated, then an error says why; with few log lines, and no leaks."""
    with logged(caplog) as log:
        async with (
            behind_proxy(tmp_path) as behind,
            running(behind.options, CONFIG) as server,
            client_of(server, admin(behind.trust)) as client,
        ):
            await once_synced([*server.synced.values()])
            await eventually(lambda: ask(client), lambda answer: answer == "50")
            watching = await eventually(
                _awaited(lambda: behind.api.open_watches),
                lambda open_watches: open_watches == len(PATHS),
            )
            # Each watch has lasted, so that its end is not in itself a sign of a fault.
            await eventually(
                _awaited(lambda: log.by_path("streamed") + log.by_path("listed")),
                lambda known: known.keys() == PATHS,
            )
            timing.ahead += 1
            before = await census()
            timing.waits.clear()
            log.clear()
            await begin(fault, behind)
            assert [await ask(client) for _ in range(3)] == ["50"] * 3
            behind.api.delete(PODS, "default", "a")
            behind.api.apply(PODS, pod("c", ready=False))

            await eventually(
                _awaited(lambda: _times(fault, behind, timing)), lambda times: times >= fault.times
            )
            timing.ahead += 200
            # The last known value, the error, the right value: nothing else is ever reported.
            answers: list[str] = []

            async def note() -> str:
                answers.append(await ask(client))
                return answers[-1]

            await eventually(note, lambda answer: answer == fault.answer)
            assert set(answers) <= {"50", OLD, "80"}
            # Each watch was cut first, for which the wait is shorter.
            assert max(timing.waits, default=0) <= LONGEST_WAIT
            assert sum(wait < fault.wait for wait in timing.waits) <= len(PATHS)
            await end(behind)
            await eventually(lambda: ask(client), lambda answer: answer == "80")
            await eventually(
                _awaited(lambda: behind.api.open_watches),
                lambda open_watches: open_watches == watching,
            )
            await eventually(lambda: client.ask("/readyz"), lambda ready: ready.status == 200)

            costs = Counter(dict.fromkeys(fault.logged, 1))
            assert log.by_path("lost contact") == costs, log.lines("lost contact")
            await eventually(
                _awaited(lambda: log.by_path("contact restored").keys()),
                lambda paths: paths == costs.keys(),
            )
            # Each error for an HPA is counted, and none of them is logged as well.
            besides = [event for event in log.warnings() if event != "lost contact"]
            assert besides == list(fault.besides)
            await settled(before)


def _times(fault: ApiFault, behind: Behind, timing: Timing) -> int:
    """How often a fault was met."""
    return behind.proxy.faulted if fault.behave is not None else len(timing.waits)


def _awaited(read: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    """Wrap a function for `eventually`."""

    async def ask_for() -> T:
        return read()

    return ask_for


@asynccontextmanager
async def starting(behind: Behind) -> AsyncIterator[Client]:
    """A client of a server that has just started."""
    async with (
        running(behind.options, CONFIG) as server,
        client_of(server, admin(behind.trust)) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if fault.at_start in STARTED],
    ids=lambda fault: str(fault.id),
)
async def test_a_start_that_succeeds(
    fault: ApiFault, tmp_path: Path, timing: Timing, caplog: pytest.LogCaptureFixture
) -> None:
    """Meanwhile a starting server has the right value, or says that it has none; then it has it."""
    async with behind_proxy(tmp_path) as behind:
        before = await census()
        await begin(fault, behind)
        with logged(caplog) as log:
            async with starting(behind) as client:
                await eventually(lambda: ask(client), lambda answer: answer == fault.at_start)
                if fault.at_start == UNKNOWN:
                    # It is not silent, and does not log each attempt.
                    await eventually(_awaited(lambda: len(timing.waits)), lambda n: n >= 8)
                    assert log.by_path("lost contact")["/api/v1/pods"] == 1
                    ready = await client.ask("/readyz")
                    assert ready.status == 500
                    assert "[-]pods-synced failed: " in ready.text
                await end(behind)
                await eventually(lambda: ask(client), lambda answer: answer == "50")
        await settled(before)


@pytest.mark.usefixtures("timing")
@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if fault.at_start not in STARTED],
    ids=lambda fault: str(fault.id),
)
async def test_a_start_that_fails(fault: ApiFault, tmp_path: Path) -> None:
    """A server that cannot read its trust exits and says why; the next start succeeds."""
    async with behind_proxy(tmp_path) as behind:
        before = await census()
        await begin(fault, behind)
        with pytest.raises((KubernetesError, ConfigurationError)) as raised:
            await starting(behind).__aenter__()
        url = f"https://127.0.0.1:{behind.proxy.port}"
        assert str(raised.value).replace(url, "URL") == fault.at_start
        await end(behind)
        async with starting(behind) as client:
            await eventually(lambda: ask(client), lambda answer: answer == "50")
        await settled(before)
