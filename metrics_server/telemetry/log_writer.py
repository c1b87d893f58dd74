"""Writes log lines in a thread, so that the server never waits for their reader.

A full pipe, a stopped terminal and a hanging disk block the writer.
"""

import os
import threading
import time
from collections import deque
from typing import TextIO

_MAX_BYTES = 1024 * 1024
_FLUSH_SECONDS = 1.0


class LogWriter:
    """Accepts lines without blocking, and writes them in order.

    Lines that do not fit, or cannot be written, are dropped and counted.

    Args:
        stream: where to.
        limit: how much may be waiting, in bytes.

    Attributes:
        dropped: how many lines were dropped.
    """

    def __init__(self, stream: TextIO, limit: int = _MAX_BYTES) -> None:
        self.dropped = 0
        self._stream = stream
        self._limit = limit
        self._size = 0
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> bool:
        """Accept a line without its line break; return whether there was room."""
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        with self._changed:
            if self._size + len(data) > self._limit:
                self.dropped += 1
                return False
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify_all()
        return True

    def flush(self) -> None:
        """Wait a short time until everything is written."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, _FLUSH_SECONDS)

    def close(self) -> None:
        """Write what is waiting, if that takes only a moment, and end the thread."""
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                line = self._waiting[0]
            written = self._put(line)
            with self._changed:
                self._waiting.popleft()
                self._size -= len(line)
                self.dropped += not written
                self._changed.notify_all()

    def _put(self, line: bytes) -> bool:
        """Write a line; whether it was written."""
        try:
            number = self._stream.fileno()
        except (OSError, ValueError):
            return self._put_in_memory(line)
        while line:
            try:
                # Not by the stream: its lock would be held while a write blocks, and the process
                # could not end.
                line = line[os.write(number, line) :]
            except BlockingIOError:
                # Another holder of the pipe has made it non-blocking.
                time.sleep(0.05)
            except OSError:
                return False
        return True

    def _put_in_memory(self, line: bytes) -> bool:
        """Write a line to a stream that is not a file; return whether it was written."""
        try:
            self._stream.write(line.decode())
        except ValueError:
            return False  # it is closed
        return True
