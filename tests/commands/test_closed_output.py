"""A command's reader may exit before the command, such as `head`."""

import asyncio
import os

import pytest

from tests.support.forking import PIPE, fork_program

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("command", [["rules"], ["demo", "--duration", "300ms"]])
async def test_a_reader_that_is_gone(command: list[str]) -> None:
    """The command ends without a traceback, with the exit status for a closed pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = await fork_program(*command, stdout=writer, stderr=PIPE)
        async with asyncio.timeout(60):
            _, err = await process.communicate()
    finally:
        os.close(writer)
    assert b"Traceback" not in err
    assert process.returncode == 141
