"""The programs that build an image."""

import subprocess
from pathlib import Path

_SECONDS = 1800


class ImageError(Exception):
    """The image cannot be built; the message says why, and what to do."""


def output(*command: str | Path, folder: Path | None = None) -> str:
    """The output of a command, which must succeed.

    Raises:
        ImageError: it fails, with what it printed.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the commands are this package's own
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except FileNotFoundError as error:
        raise ImageError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"{command[0]} took more than {_SECONDS} s") from error
    if done.returncode:
        words = " ".join(map(str, command))
        raise ImageError(f"`{words}` failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout
