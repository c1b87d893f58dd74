"""Checks on every test: no blocking call in the event loop, and no task left behind."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings
from prometheus_client import CollectorRegistry
from pytest_asyncio.plugin import PytestAsyncioFunction

from metrics_server.telemetry.metrics import Monitor
from tests.support.authorities import trust_none
from tests.support.data import EXPORTERS
from tests.support.once import run_folder

# A busy machine is slow: tests of speed measure it themselves. `quick` is for `make check`,
# where a test that sets its number of examples still runs that many.
settings.register_profile("all", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=25)
settings.load_profile("all")

# Until all tests are collected, there is no garbage worth looking for.
gc.disable()


def pytest_configure() -> None:
    """Create the run's folder, and set its environment, before its other processes start."""
    run_folder()
    # Building an image downloads what it needs.
    if "IMAGE_TEST" not in os.environ:
        trust_none()


def pytest_collection_finish() -> None:
    """Collect garbage less often, and leave out the thousands of tests and their imports."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def no_blocking_calls() -> Iterator[BlockBuster]:
    """A call that blocks the event loop raises.

    It is shared by all tests: finding the functions that block takes as long as a short test.
    """
    with blockbuster_ctx("metrics_server") as guard:
        # Credentials are read in a separate thread, whose event loop may block.
        for function in guard.functions.values():
            function.can_block_in("metrics_server/kube/credentials.py", "_run_in_this_thread")
            # Coverage's own calls while it traces a line do not count.
            function.can_block_in("coverage/collector.py", "lock_data")
            function.can_block_in("coverage/control.py", "_should_trace")
        yield guard


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """A test in an event loop, with its fixtures, ends every task that it started."""
    if isinstance(request.node, PytestAsyncioFunction):
        request.getfixturevalue("ended_tasks")


@pytest.fixture
async def ended_tasks() -> AsyncIterator[None]:
    """The check behind `no_leaked_tasks`; requesting it creates an event loop."""
    before = asyncio.all_tasks()
    yield
    leaked = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()}
    assert not leaked, f"tasks left behind: {[task.get_name() for task in leaked]}"


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry for this test only."""
    return CollectorRegistry()


@pytest.fixture
def monitor(registry: CollectorRegistry) -> Monitor:
    """A monitor on this test's registry."""
    return Monitor(registry)


@pytest.fixture
def pages() -> Path:
    """The folder with exporters' pages."""
    return EXPORTERS
