"""The wheels in a lock, downloaded once and kept in the user's cache.

With an index, pip takes several seconds of CPU time to choose what the lock names anyway.
"""

import subprocess
from pathlib import Path

from tests.support.authorities import trusting_system
from tests.support.once import kept


class WheelsUnavailableError(Exception):
    """The wheels cannot be downloaded; the message is pip's output."""


def wheels(python: Path, *locks: Path, options: tuple[str, ...] = ()) -> Path:
    """The wheels of some locks, in a folder; if one has hashes, all must.

    Args:
        python: whose pip downloads them, for itself unless the options say otherwise.
        locks: requirements files.
        options: of `pip download`.

    Raises:
        WheelsUnavailableError: one cannot be downloaded.
    """
    asked = [python.resolve(), *options, *(lock.read_text(encoding="utf-8") for lock in locks)]
    return kept("wheels", asked, lambda new: _fetch(python, locks, new, options))


def only_from(*folders: Path) -> dict[str, str]:
    """An environment in which pip installs only from these folders."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": " ".join(map(str, folders))}


def _fetch(python: Path, locks: tuple[Path, ...], to: Path, options: tuple[str, ...]) -> None:
    form = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")
    named = [word for lock in locks for word in ("--requirement", str(lock))]
    done = subprocess.run(  # noqa: S603 - the command is the tests' own
        [python, "-m", "pip", "download", *form, *options, *named, "--dest", to],
        env={**trusting_system(), "PIP_NO_CACHE_DIR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WheelsUnavailableError(done.stdout + done.stderr)
