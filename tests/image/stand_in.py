"""Replacements for what a test cannot fetch: the base image, and the package index.

There is no container registry where the tests run. The base image is Debian's release of the
same name and its Python, with /usr/local as a virtual environment: the same paths, the same minor
version. The locked distributions are fetched before the build, which has no index.
"""

import fcntl
import os
import re
import sys
from pathlib import Path

from tests.image.commands import output

_BASE = re.compile(r"^FROM (python:\S+-slim-(\w+)@\S+)", re.MULTILINE)
_NAME = "localhost/base"
# Wheels that pip accepts for the base image's Python, with the glibc of Debian 12 or older.
WHEELS = {
    platform: (
        *("--python-version=3.11", "--implementation=cp"),
        *("--abi=cp311", "--abi=abi3", "--abi=none"),
        *(f"--platform=manylinux_2_{minor}_{machine}" for minor in range(17, 37)),
        f"--platform=manylinux2014_{machine}",
    )
    for platform, machine in (("linux/amd64", "x86_64"), ("linux/arm64", "aarch64"))
}
_PIP = "[global]\nno-index = true\nfind-links = /wheels\n"


def base_options(
    context: Path, buildah: tuple[str | Path, ...], platforms: tuple[str, ...]
) -> tuple[str, ...]:
    """Create the base image, and return the option of `buildah build` that replaces the real one.

    Raises:
        ImageError: it cannot be created.
    """
    found = _BASE.search((context / "Dockerfile").read_text(encoding="utf-8"))
    assert found is not None
    reference, release = found.groups()
    output(*buildah, "manifest", "create", _NAME)
    for platform in platforms:
        files = _file_system(release, platform.removeprefix("linux/"))
        container = output(*buildah, "from", "--platform", platform, "scratch").strip()
        output(*buildah, "add", "--quiet", container, files, "/")
        output(*buildah, "commit", "--quiet", "--rm", "--manifest", _NAME, container)
    return ("--build-context", f"{reference}=container-image://{_NAME}")


def index_options(context: Path, folder: Path, platforms: tuple[str, ...]) -> tuple[str, ...]:
    """Fetch the locked distributions, and return the options that offer them to pip.

    Raises:
        ImageError: it cannot be fetched.
    """
    wheels = folder / "wheels"
    for lock in (context / "deployments" / "image").glob("*.lock"):
        for platform in platforms:
            fetch(lock, wheels, *WHEELS[platform])
    (folder / "pip.conf").write_text(_PIP, encoding="utf-8")
    return (
        f"--volume={wheels}:/wheels:ro",
        f"--volume={folder / 'pip.conf'}:/etc/pip.conf:ro",
    )


def fetch(lock: Path, wheels: Path, *options: str) -> None:
    """Fetch a lock's wheels, checking hashes.

    Raises:
        ImageError: one cannot be fetched.
    """
    form = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")
    command = (sys.executable, "-m", "pip", "download", "--require-hashes", *form, *options)
    output(*command, "--dest", wheels, "--requirement", lock)


def _file_system(release: str, architecture: str) -> Path:
    """The base image's files, as a tar file; cached in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "gpu-metrics-server"
    made = folder / f"base-{release}-{architecture}.tar"
    folder.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes; one of them creates it.
    with (folder / "base-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            new = folder / f"new-{made.name}"
            new.unlink(missing_ok=True)
            output(
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
                f"--architectures={architecture}",
                "--include=ca-certificates,python3-venv",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                '--customize-hook=chroot "$1" python3 -m venv /usr/local',
                *(release, new),
            )
            new.rename(made)
    return made
