"""Lines about the beginning and end of faults."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from metrics_server.simulator.demo.fault_notes import FaultNotes
from metrics_server.simulator.demo.options import DemoOptions, FaultName
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.gpus.exporters import Observation, SimulatedExporter, simulated_node
from metrics_server.simulator.gpus.workload import A100
from tests.support.demos import shown


@pytest.fixture
async def exporters() -> AsyncIterator[Sequence[SimulatedExporter]]:
    """Two exporters."""
    async with AsyncExitStack() as stack:
        nodes = [simulated_node(name, A100, 1) for name in ("a", "b")]
        made = [SimulatedExporter(node, "4.8.3+", lambda: Observation({}, ())) for node in nodes]
        for one in made:
            await stack.enter_async_context(one)
        yield made


async def test_a_fault_begins_and_ends(exporters: Sequence[SimulatedExporter]) -> None:
    """Each once, with the number of exporters, however often they are checked."""
    notes = FaultNotes(exporters)
    assert notes.changes(1) == []
    await exporters[0].set_fault(Fault("down"))
    begins = "20 s  fault begins: down on 1 of 2 exporters: connections are refused"
    assert notes.changes(20.2) == [f" {begins}"]
    assert notes.changes(21) == []
    await exporters[0].set_fault(None)
    assert notes.changes(40.3) == [" 40 s  fault ends:   down on 1 of 2 exporters, after 20 s"]
    assert notes.changes(41) == []


async def test_another_fault_takes_its_place(exporters: Sequence[SimulatedExporter]) -> None:
    """One ends and the other begins; likewise if the number of exporters changes."""
    notes = FaultNotes(exporters)
    await exporters[0].set_fault(Fault("error"))
    notes.changes(1)
    for one in exporters:
        await one.set_fault(Fault("slow"))
    assert notes.changes(9) == [
        "  9 s  fault ends:   error on 1 of 2 exporters, after 8 s",
        "  9 s  fault begins: slow on 2 of 2 exporters: answers are late",
    ]
    await exporters[1].set_fault(None)
    assert len(notes.changes(10)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "where"),
    [("exporter-garbage", "garbage on 3 of 3"), ("one-exporter-down", "down on 1 of 3")],
)
async def test_the_demo_prints_them(
    capsys: pytest.CaptureFixture[str], fault: FaultName, where: str
) -> None:
    """In order: a source changes after its fault."""
    text = await shown(capsys, DemoOptions(duration=3, fault=fault))
    notes = re.findall(r"^ +\d+ s  (fault (?:begins|ends): .*)$", text, re.MULTILINE)
    assert len(notes) == 2
    assert notes[0].startswith(f"fault begins: {where} exporters: ")
    assert re.fullmatch(f"fault ends:   {where} exporters, after 1 s", notes[1])
    assert text.index("source exporters") < text.index("fault begins") < text.index("fault ends")
