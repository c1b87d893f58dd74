"""How commands set up their process."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc
from metrics_server.commands.running import run

async def command():
    print(gc.get_freeze_count())

run(command())
"""


@pytest.mark.slow
def test_full_collections_do_not_look_through_what_was_imported() -> None:
    """There are tens of thousands of such objects, and scanning them would block the loop."""
    done = subprocess.run(  # noqa: S603 - a program of this test
        (sys.executable, "-c", PROGRAM), stdout=subprocess.PIPE, timeout=60, check=True
    )
    assert int(done.stdout) > 10_000
