"""Every exporter fault has its error, and ends with the fault."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES
from tests.faults.exporter_faults import FAULTS, LATE, Fault
from tests.faults.exporters import AFTER, ASKED, MISSING, Exporter
from tests.faults.raw import Census, Log, census, logged, settled
from tests.support.clients import Answer
from tests.support.harness import Cluster, cluster, configuration
from tests.support.objects import pod
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Scene:
    """A server, and the one exporter that it scrapes.

    Attributes:
        simulated: the cluster.
        exporter: on its node, with two pods.
        log: the log.
        census: what was open when all was well.
    """

    simulated: Cluster
    exporter: Exporter
    log: Log
    census: Census

    async def ask(self) -> Answer:
        """The answer to the HPA's question."""
        return await _ask(self.simulated)


async def _ask(simulated: Cluster) -> Answer:
    return await simulated.client.metric("default", "gpu_utilization", "app=inference")


def is_value(value: str) -> Callable[[Answer], bool]:
    """Whether an answer has this value."""
    return lambda answer: answer.status == 200 and answer.item().value == value


@asynccontextmanager
async def scene(fault: Fault, foreign: pytest.LogCaptureFixture) -> AsyncIterator[Scene]:
    """A server whose answers are right, and which waits only where this is tested."""
    exporters = {
        "timeout": "200ms" if fault.answer == LATE else "10s",
        "maxAge": "1ms",
        "maxPageBytes": 65536,
        "maxPageLines": 500,
    }
    async with (
        Exporter() as exporter,
        cluster({}, [pod("a"), pod("b")], configuration({"exporters": exporters})) as simulated,
    ):
        simulated.api.apply(ENDPOINT_SLICES, manifests.endpoint_slice("gpu-0", exporter.port))
        await eventually(lambda: _ask(simulated), is_value("50"))
        before = await census()
        with logged(foreign) as log:
            yield Scene(simulated, exporter, log, before)


async def begin(fault: Fault, exporter: Exporter) -> None:
    """Let a fault begin."""
    if fault.behave is None:
        await exporter.stop()
    exporter.behave = fault.behave
    exporter.page = AFTER
    exporter.asked.clear()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.id))
async def test_exporter(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """The HPA gets the reason, not a value; it causes few lines, and leaves nothing behind."""
    async with scene(fault, caplog) as here:
        url = f"http://127.0.0.1:{here.exporter.port}/metrics"
        await begin(fault, here.exporter)
        for _ in range(ASKED):
            status = (await here.ask()).error()
            told = status.message.replace(url, "URL")
            assert (status.code, status.reason) == (503, "ServiceUnavailable")
            assert told.startswith(f"0 of 2 pods have a measurement: {fault.answer}"), told
        # Each question had its own scrape, with at most one retry, on another connection.
        assert set(here.exporter.asked) <= {"/metrics"}
        if fault.behave is not None:
            assert ASKED <= len(here.exporter.asked) <= 2 * ASKED
        # One incident, however many questions.
        assert len(here.log.lines(MISSING)) == 1
        here.exporter.behave = None
        await here.exporter.start()
        answer = await eventually(here.ask, lambda answer: answer.status == 200)
        assert answer.item().value == "60"
        assert answer.item().metric_labels["pods"] == "2/2"
        warnings = [event for event in here.log.warnings() if event != MISSING]
        assert warnings == list(fault.logged)
        assert len(here.log.lines("real metrics are back")) == 1
        assert len(here.log.lines("scrape recovered")) == len(fault.logged)
        await settled(here.census)
