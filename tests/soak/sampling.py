"""Memory, descriptors, tasks and the log of the server's process."""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

# Runs in the server's process first. On a signal it writes the counts that only it can make.
PREAMBLE = """
import asyncio, gc, json, os, signal, sys
from collections import Counter
def count(*_):
    tasks = asyncio.all_tasks()
    names = Counter(task.get_coro().__qualname__ for task in tasks)
    record = json.dumps({{"tasks": len(tasks), "objects": len(gc.get_objects()), "names": names}})
    with open({path!r} + ".new", "w") as file:
        file.write(record)
    os.replace({path!r} + ".new", {path!r})
signal.signal(signal.SIGUSR2, count)
"""

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Errors that an injected fault explains.
_EXPLAINED = frozenset({"serving certificate not reloaded, keeping the current one"})
_MOST_KEPT = 20


class Inside(Struct):
    """Counts from inside the process.

    Attributes:
        tasks: asyncio's.
        objects: those that the garbage collector tracks.
        names: how many tasks run each coroutine.
    """

    tasks: int = 0
    objects: int = 0
    names: dict[str, int] = {}


class Sample(Struct, frozen=True):
    """The process at one moment; `cpu` is in seconds since its start."""

    at: float
    resident: int
    descriptors: int
    threads: int
    cpu: float
    tasks: int
    objects: int


class Process:
    """The server's process, as seen from outside.

    Args:
        pid: its ID.
        inside: the file with its own counts.
    """

    def __init__(self, pid: int, inside: Path) -> None:
        self._pid = pid
        self._inside = inside

    def inside(self) -> Inside:
        """Its own counts at the previous signal; sends the signal for the next."""
        os.kill(self._pid, signal.SIGUSR2)
        try:
            return msgspec.json.decode(self._inside.read_bytes(), type=Inside)
        except FileNotFoundError:
            return Inside()

    def sample(self, at: float) -> Sample:
        """The current state.

        Raises:
            ProcessLookupError: it is gone.
            FileNotFoundError: likewise.
        """
        proc = Path("/proc", str(self._pid))
        inside = self.inside()
        stat = (proc / "stat").read_text().rpartition(")")[2].split()
        return Sample(
            at,
            int((proc / "statm").read_text().split()[1]) * _PAGE,
            sum(1 for _ in (proc / "fd").iterdir()),
            int(stat[17]),
            (int(stat[11]) + int(stat[12])) / _TICKS,
            inside.tasks,
            inside.objects,
        )


class _Line(Struct):
    event: str
    level: str = ""
    url: str = ""
    path: str = ""


class Log:
    """The server's log, in a file that is read as it grows.

    Args:
        file: the server appends to it.

    Attributes:
        levels: how many lines of each level.
        events: how many of each level and event.
        adrift: paths whose watch has lost contact with the Kubernetes API.
        bad: lines that no injected fault explains: errors, tracebacks, "unexpected".
        url: where the server says it serves.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.levels: Counter[str] = Counter()
        self.events: Counter[tuple[str, str]] = Counter()
        self.adrift: set[str] = set()
        self.bad: list[str] = []
        self.url = ""
        self._file = file
        self._rest = b""

    def read(self) -> None:
        """Read the new lines."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for text in lines:
            self._take(text)

    def _take(self, text: bytes) -> None:
        try:
            line = msgspec.json.decode(text, type=_Line)
        except msgspec.DecodeError:
            self._blame(text)  # such as a line of a traceback
            return
        self.levels[line.level] += 1
        self.events[line.level, line.event] += 1
        if line.event == "serving":
            self.url = line.url
        elif line.event.startswith("lost contact"):
            self.adrift.add(line.path)
        elif line.event == "contact restored":
            self.adrift.discard(line.path)
        wrong = line.level in ("error", "critical") and line.event not in _EXPLAINED
        if wrong or "unexpected" in line.event or b"Traceback" in text:
            self._blame(text)

    def _blame(self, text: bytes) -> None:
        if len(self.bad) < _MOST_KEPT:
            self.bad.append(text[:1000].decode(errors="replace"))
