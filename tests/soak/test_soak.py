"""The soak itself, for a few seconds: `make soak` runs it for any duration."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from tests.soak.callers import Tally
from tests.soak.report import MIB, Minute, Record, judge, text
from tests.soak.run import Plan, soak
from tests.soak.sampling import Log, Sample

_LEAKS_AND_COMPLAINS = """
import asyncio, logging, os
from metrics_server.measuring import provider
answer, leaked = provider.MetricsProvider.answer, []
async def and_leak(self, question):
    leaked.append(asyncio.create_task(asyncio.Event().wait()))
    os.open("/dev/null", os.O_RDONLY)
    logging.getLogger("somewhere").error("unforeseen")
    return await answer(self, question)
provider.MetricsProvider.answer = and_leak
"""
_ANSWERS_WRONGLY = """
from metrics_server.measuring import aggregation
aggregation._AGGREGATIONS["avg"] = max
"""
_DIES = """
import os
from metrics_server.measuring import provider
answer, left = provider.MetricsProvider.answer, iter(range(20))
async def or_die(self, question):
    if next(left, None) is None:
        os._exit(3)
    return await answer(self, question)
provider.MetricsProvider.answer = or_die
"""


def _plan(*, duration: float, recovery: float, preamble: str = "") -> Plan:
    return Plan(duration, 4, rate=40, quiet=0.5, recovery=recovery, preamble=preamble)


async def _soak(plan: Plan, folder: Path) -> Record:
    return await soak(plan, folder / "server.log", lambda _: None)


@pytest.mark.slow
async def test_a_server_that_holds_passes(tmp_path: Path) -> None:
    """Faults were injected, answers were checked, and the server did nothing wrong."""
    record = await _soak(_plan(duration=2, recovery=60), tmp_path)
    assert not record.failures, "\n".join(record.failures)
    assert record.faults
    assert record.quiet_answers > 10
    assert len(record.recoveries) == 2
    assert "seed 4: passed\n" in text(record)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preamble", "said"),
    [
        (_LEAKS_AND_COMPLAINS, ["'Event.wait': ", " descriptors, ", "unforeseen"]),
        (_ANSWERS_WRONGLY, ["all was not well within 1 s after the start: team-a/train: "]),
        (_DIES, ["the server ended with 3"]),
    ],
    ids=["leaks and complains", "answers wrongly", "dies"],
)
async def test_a_server_that_does_not_hold_fails(
    tmp_path: Path, preamble: str, said: Sequence[str]
) -> None:
    """Whatever goes wrong is in the report."""
    record = await _soak(_plan(duration=1, recovery=1, preamble=preamble), tmp_path)
    for words in said:
        assert any(words in failure for failure in record.failures), record.failures
    assert "seed 4: FAILED\n" in text(record)


@pytest.mark.parametrize(
    ("memory", "seconds", "failures"),
    [
        (lambda at: 100 + 20 * at / 3600, 1800, 1),
        # Too short to judge, and a step.
        (lambda at: 100 + 20 * at / 3600, 600, 0),
        (lambda at: 100 if at < 1600 else 180, 1800, 0),
        (lambda at: 100 if at < 10 else 401, 1800, 1),
    ],
    ids=["leak", "short", "step", "peak"],
)
def test_memory_that_grows_fails(
    memory: Callable[[float], float], seconds: int, failures: int
) -> None:
    """By its growth in the second half, and by its peak."""
    record = Record(4)
    samples = [Sample(at, round(memory(at) * MIB), 0, 0, 0, 0, 0) for at in range(seconds)]
    record.minutes = [Minute(Tally(), samples)]
    judge(record)
    assert len(record.failures) == failures


def test_a_watch_is_adrift_until_it_is_restored(tmp_path: Path) -> None:
    """However often it loses contact; each watch separately."""
    path = tmp_path / "log"
    path.write_bytes(b"")
    with path.open("rb") as file, path.open("ab", buffering=0) as server:
        log = Log(file)
        for event, watch, adrift in (
            ("lost contact", "/pods", {"/pods"}),
            ("lost contact again", "/slices", {"/pods", "/slices"}),
            ("contact restored", "/pods", {"/slices"}),
            ("contact restored", "/slices", set()),
        ):
            line = {"event": event, "level": "info", "path": watch}
            server.write(msgspec.json.encode(line) + b"\n")
            log.read()
            assert log.adrift == adrift
