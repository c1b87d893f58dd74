"""The system clock is set while the server runs."""

import signal
from pathlib import Path

import pytest

from tests.faults.process import CLOCK_CAN_BE_SET, scene
from tests.support.exporters import page
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


async def test_a_clock_that_is_set_back_makes_no_answer_old(tmp_path: Path) -> None:
    """A scrape's age stays right: its value is not repeated for the hour that repeats."""
    async with scene(tmp_path, preamble=CLOCK_CAN_BE_SET) as here:
        before = (await here.ask()).item()
        here.exporter.page = page({("default", "a"): [90]})
        here.server.process.send_signal(signal.SIGUSR1)
        await eventually(here.value, lambda value: value == "90", patience=5)
        # The displayed time has the date of the current clock.
        after = (await here.ask()).item()
        assert after.timestamp < before.timestamp
        assert (await here.client.ask("/readyz")).text == "ok"


async def test_a_last_known_value_ages_while_the_clock_is_set_back(tmp_path: Path) -> None:
    """It is repeated as long as allowed, and no longer."""
    config = (
        "exporters: {maxAge: 50ms}\nfallback: {chain: [last-known, error], lastKnownMaxAge: 1s}\n"
    )
    async with scene(tmp_path, config=config, preamble=CLOCK_CAN_BE_SET) as here:
        assert await here.value() == "10"
        here.exporter.status = 500
        here.server.process.send_signal(signal.SIGUSR1)
        await eventually(here.value, lambda value: value == "503", patience=5)
