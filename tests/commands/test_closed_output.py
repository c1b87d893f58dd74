"""What reads the output of a command may end before it, such as `head`."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("command", [["rules"], ["demo", "--duration", "300ms"]])
def test_a_reader_that_is_gone(command: list[str]) -> None:
    """The command ends without a traceback, with the status of a closed pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(  # noqa: S603 - the command is the product's own
            (sys.executable, "-m", "metrics_server", *command),
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert b"Traceback" not in ended.stderr
    assert ended.returncode == 141
