import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metrics_server.auth.trust_files import TrustFiles
from metrics_server.errors import ConfigurationError
from metrics_server.tls.authority import Authority

FLAG, OTHER = "--client-ca-file", "--requestheader-client-ca-file"


class Turns:
    """Files that are followed, and read when the test says so."""

    def __init__(self, **paths: Path) -> None:
        self._turn = asyncio.Semaphore(0)
        self._idle = asyncio.Event()
        self.changes = 0
        self.files = TrustFiles(
            {f"--{flag.replace('_', '-')}": path for flag, path in paths.items()}, sleep=self._sleep
        )

    async def _sleep(self, _: float) -> None:
        self._idle.set()
        await self._turn.acquire()

    def count(self) -> None:
        """Count a change."""
        self.changes += 1

    async def read(self) -> None:
        """Read them once more."""
        async with asyncio.timeout(10):
            await self._idle.wait()
            self._idle.clear()
            self._turn.release()
            await self._idle.wait()


@asynccontextmanager
async def followed(**paths: Path) -> AsyncIterator[Turns]:
    """Files that were loaded, and are followed for as long as the context."""
    turns = Turns(**paths)
    await turns.files.load()
    task = asyncio.create_task(turns.files.follow(turns.count), name="follow")
    try:
        yield turns
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_change_is_taken_over_once(tmp_path: Path) -> None:
    """Changed content counts, not a changed time."""
    path, old, new = tmp_path / "ca.crt", Authority("a").bundle, Authority("b").bundle
    path.write_bytes(old)
    async with followed(client_ca_file=path) as turns:
        await turns.read()
        path.write_bytes(old)
        await turns.read()
        assert (turns.changes, turns.files.content) == (0, {FLAG: old})
        path.write_bytes(new)
        await turns.read()
        await turns.read()
        assert (turns.changes, turns.files.content) == (1, {FLAG: new})


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
async def test_an_unusable_file_is_logged_once(tmp_path: Path, content: bytes | None) -> None:
    """The last good content and the other file are still used, and a good file is reloaded."""
    path, other = tmp_path / "ca.crt", tmp_path / "other.crt"
    before, after = Authority("a").bundle, Authority("b").bundle
    path.write_bytes(before)
    other.write_bytes(before)
    async with followed(client_ca_file=path, requestheader_client_ca_file=other) as turns:
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with capture_logs() as logs:
            await turns.read()
            await turns.read()
        assert [(one["event"], one["flag"]) for one in logs] == [
            ("CA file unusable, keeping its last good content", FLAG)
        ]
        assert str(path) in logs[0]["error"]
        other.write_bytes(after)
        await turns.read()
        assert turns.files.content == {FLAG: before, OTHER: after}
        path.write_bytes(after)
        with capture_logs() as logs:
            await turns.read()
        assert {"event": "CA file usable again", "flag": FLAG}.items() <= (logs[0].items())
        assert turns.files.content == {FLAG: after, OTHER: after}
        assert turns.changes == 2


async def test_the_first_time_all_must_be_good(tmp_path: Path) -> None:
    """The error names the flag and the file."""
    with pytest.raises(ConfigurationError, match=rf"^{FLAG} \S+ca\.crt cannot be used: "):
        await TrustFiles({FLAG: tmp_path / "ca.crt"}).load()
