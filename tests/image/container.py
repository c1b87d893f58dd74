"""A container of the image as buildah runs it: with its files and user, in a chroot."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.image.commands import output

_PATIENCE_SECONDS = 120


def storage(folder: Path) -> tuple[str, ...]:
    """Options that make buildah keep everything in a folder; they need no mounts."""
    return (f"--root={folder / 'store'}", f"--runroot={folder / 'run'}", "--storage-driver=vfs")


class Container:
    """A container.

    Args:
        folder: for storage; must not exist. buildah 1.28 cannot read the images of two platforms
            from one archive into one storage.
        archive: of the image.
        platform: such as linux/arm64.
    """

    def __init__(self, folder: Path, archive: Path, platform: str) -> None:
        self._folder = folder
        self._buildah = ("buildah", *storage(folder))
        source = f"oci-archive:{archive}"
        self._id = output(*self._buildah, "from", "--platform", platform, source).strip()

    def remove(self) -> None:
        """Remove it, with its storage."""
        output(*self._buildah, "rm", self._id)
        shutil.rmtree(self._folder)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(  # noqa: S603 - the image's own
            self._command(command),
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )

    @contextmanager
    def running(self, *command: str) -> Iterator[None]:
        """Run a command until the end of the context, then interrupt it."""
        with subprocess.Popen(  # noqa: S603 - the image's own
            self._command(command), stdout=subprocess.DEVNULL, start_new_session=True
        ) as process:
            try:
                yield
            finally:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(_PATIENCE_SECONDS)

    def _command(self, command: tuple[str, ...]) -> tuple[str | Path, ...]:
        return (*self._buildah, "run", "--isolation=chroot", self._id, "--", *command)
