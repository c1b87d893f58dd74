"""A container of the image, as far as buildah runs one: its files and its user, in a chroot."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.image.commands import output

_PATIENCE_SECONDS = 30


class Container:
    """A container.

    Args:
        buildah: the command.
        archive: of the image.
    """

    def __init__(self, buildah: tuple[str | Path, ...], archive: Path) -> None:
        self._buildah = buildah
        self._id = output(*buildah, "from", f"oci-archive:{archive}").strip()

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
        """Run a command until the end of the context, and interrupt it."""
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
