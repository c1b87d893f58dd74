"""A thread writes the log, so that nothing waits for its reader."""

import errno
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrics_server.telemetry.log_writer import LogWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A pipe: its read end and its write end."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    yield reading, stream
    stream.close()
    os.close(reading)


def test_lines_come_in_order(pipe: tuple[int, io.TextIOWrapper]) -> None:
    """All of them, one per line."""
    reading, stream = pipe
    writer = LogWriter(stream)
    for number in range(1000):
        assert writer.write(f"line {number}")
    writer.close()
    assert os.read(reading, 65536).decode().splitlines() == [f"line {n}" for n in range(1000)]
    assert writer.dropped == 0


def test_nobody_waits_for_a_reader(pipe: tuple[int, io.TextIOWrapper]) -> None:
    """With a full pipe, lines wait up to a limit; more are dropped and counted."""
    reading, stream = pipe
    writer = LogWriter(stream, limit=100_000)
    began = time.monotonic()
    taken = [writer.write("x" * 999) for _ in range(1000)]
    assert time.monotonic() - began < 1
    assert writer.dropped == taken.count(False) > 700
    rest = b""
    while rest.count(b"\n") < taken.count(True):
        rest += os.read(reading, 65536)
    assert rest == (b"x" * 999 + b"\n") * taken.count(True)
    # There is room again.
    assert writer.write("after")
    writer.close()
    assert os.read(reading, 100) == b"after\n"


@pytest.mark.slow
def test_the_end_does_not_wait_for_a_reader(pipe: tuple[int, io.TextIOWrapper]) -> None:
    """Lines not read within a moment are lost, but the process ends."""
    reading, stream = pipe
    writer = LogWriter(stream)
    for _ in range(200):
        writer.write("x" * 999)
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 5
    read = 0
    while read < 200 * 1000:
        read += len(os.read(reading, 65536))
    writer._thread.join()


def test_a_disk_that_is_full_costs_the_line() -> None:
    """It is counted, and the next one is written."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    with full.open("w") as stream:
        writer = LogWriter(stream)
        for _ in range(3):
            assert writer.write("lost")
        writer.close()
        writer._thread.join()
    assert writer.dropped == 3


def test_a_pipe_that_does_not_block_is_waited_for(
    pipe: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process on the same pipe may have made it so; the line is not lost."""
    reading, stream = pipe
    refusals = iter([errno.EAGAIN, errno.EAGAIN])
    write = os.write
    asked = threading.Event()

    def reluctant(number: int, data: bytes) -> int:
        asked.set()
        if code := next(refusals, 0):
            raise OSError(code, os.strerror(code))
        return write(number, data)

    monkeypatch.setattr(os, "write", reluctant)
    writer = LogWriter(stream)
    writer.write("late")
    writer.close()
    assert asked.is_set()
    assert os.read(reading, 100) == b"late\n"
    assert writer.dropped == 0


def test_a_stream_that_is_closed_ends_nothing() -> None:
    """Its lines are dropped and counted, and the thread keeps running."""
    stream = io.StringIO()
    writer = LogWriter(stream)
    stream.close()
    writer.write("too late")
    writer.close()
    assert writer.dropped == 1
