"""Processes forked from one that has imported the program, so that each starts at once.

Starting Python with all the server's imports takes a second of CPU time, and a fork takes
almost none. A forked process runs the same `main`, with the same arguments, in its own
process; tests/commands/test_serve.py tests that the program starts from scratch.
"""

import asyncio
import atexit
import gc
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_END_SECONDS = 10
PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL

_PRELOADED = (
    "metrics_server.commands.main",
    "metrics_server.commands.demo",
    "metrics_server.commands.serve",
    "metrics_server.commands.top",
    "uvloop",
    "tests.reliability.peers",
)
_MAX_REQUEST_BYTES = 64 * 1024


class ForkedProcess:
    """A process, with the parts of `asyncio.subprocess.Process` that tests use; see `fork`.

    Attributes:
        pid: its process ID.
        stdout: its output, if that is a pipe.
        stderr: likewise.
    """

    def __init__(
        self,
        pid: int,
        ended: "asyncio.Task[int]",
        stdout: asyncio.StreamReader | None,
        stderr: asyncio.StreamReader | None,
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        """Its exit status, or a signal's number, negated; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Return its exit status once it has ended."""
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return the rest of what it prints to pipes, once it has ended."""
        out, err, _ = await asyncio.gather(_rest(self.stdout), _rest(self.stderr), self.wait())
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal; raise ProcessLookupError if it has ended."""
        if self._ended.done():
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


async def fork_program(
    *arguments: str, preamble: str = "", stdout: int = DEVNULL, stderr: int = DEVNULL
) -> ForkedProcess:
    """Run the program in a process of its own.

    Args:
        arguments: its command, and the flags.
        preamble: code that the process runs first, when all is imported.
        stdout: as for `fork`.
        stderr: likewise.
    """
    if preamble:
        line = ("tests.support.prepared", preamble, *arguments)
    else:
        line = ("metrics_server.commands.main", *arguments)
    return await fork(*line, stdout=stdout, stderr=stderr)


async def fork(
    module: str, *arguments: str, stdout: int = DEVNULL, stderr: int = DEVNULL
) -> ForkedProcess:
    """Run a module's `main` in a separate process.

    Args:
        module: the module's name.
        arguments: passed to `main` as a list.
        stdout: where it prints: PIPE, DEVNULL or a descriptor.
        stderr: likewise, or STDOUT.
    """
    descriptors = _requested(module, arguments, stdout, stderr)
    readers = [await _reader(descriptor) for descriptor in descriptors]
    lines = readers.pop(0)
    line = await lines.readline()
    assert line, "the process that forks has ended"
    pid = int(line)

    async def ended() -> int:
        return int(await lines.read())

    return ForkedProcess(
        pid,
        asyncio.create_task(ended(), name=f"the end of process {pid}"),
        readers.pop(0) if stdout == PIPE else None,
        readers.pop(0) if stderr == PIPE else None,
    )


class ForkedOutsideLoop:
    """The program in a process of its own, for tests without an event loop.

    Args:
        arguments: its command, and the flags.

    Attributes:
        pid: its process ID.
        stdout: its output.
        status: its exit status, once it has ended.
    """

    def __init__(self, *arguments: str) -> None:
        module = "metrics_server.commands.main"
        # Its errors are shown with the test's.
        status, out = _requested(module, arguments, PIPE, 2)
        self.status, self.stdout = os.fdopen(status), os.fdopen(out)
        self.pid = int(self.status.readline())

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> None:
        """Wait until it has ended."""
        ended, _, _ = select.select([self.status], [], [], _END_SECONDS)
        assert ended, f"process {self.pid} has not ended"


def _requested(module: str, arguments: "Sequence[str]", stdout: int, stderr: int) -> list[int]:
    """Request a fork. Return the descriptors that its status, and what goes to pipes, is read from.

    The status is a line with its process ID and, once it has ended, its exit status.
    """
    ours: list[int] = []
    theirs: list[int] = []

    def pipe() -> int:
        reading, writing = os.pipe()
        ours.append(reading)
        theirs.append(writing)
        return writing

    status = pipe()
    null = os.open(os.devnull, os.O_RDWR)
    theirs.append(null)
    special: dict[int, Callable[[], int]] = {PIPE: pipe, DEVNULL: lambda: null}
    out = special[stdout]() if stdout in special else stdout
    err = out if stderr == STDOUT else special[stderr]() if stderr in special else stderr
    try:
        request = json.dumps([module, arguments]).encode()
        socket.send_fds(_preloaded(), [request], [status, null, out, err])
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return ours


async def _rest(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader


@cache
def _preloaded() -> socket.socket:
    """The process that forks on request; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this module
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(channel: socket.socket) -> tuple[str, list[str]] | None:
    """Fork for each request. Return the request in the forked process, and None at the end."""
    statuses: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector, channel:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in statuses:
                    pid, status = statuses.pop(key.fd)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    _write(status, str(code))
                    os.close(status)
                    continue
                message, descriptors, *_ = socket.recv_fds(channel, _MAX_REQUEST_BYTES, 4)
                if not message:
                    return None
                status, *streams = descriptors
                pid = os.fork()
                if pid == 0:
                    for open_file, (_, other) in statuses.items():
                        os.close(open_file)
                        os.close(other)
                    os.close(status)
                    for number, descriptor in enumerate(streams):
                        os.dup2(descriptor, number)
                        os.close(descriptor)
                    module, arguments = json.loads(message)
                    return module, arguments
                for descriptor in streams:
                    os.close(descriptor)
                _write(status, f"{pid}\n")
                ending = os.pidfd_open(pid)
                statuses[ending] = pid, status
                selector.register(ending, selectors.EVENT_READ)


def _write(status: int, text: str) -> None:
    # Its parent may no longer be waiting.
    with suppress(BrokenPipeError):
        os.write(status, text.encode())


def main(descriptor: int) -> None:
    """Import the slow modules, and fork for each request from a socket."""
    # The parent may ignore it, as a shell does for commands in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in _PRELOADED:
        import_module(name)
    gc.collect()
    gc.freeze()
    request = _serve(socket.socket(fileno=descriptor))
    if request is not None:
        module, arguments = request
        import_module(module).main(arguments)


if __name__ == "__main__":
    main(int(sys.argv[1]))
