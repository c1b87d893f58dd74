"""Replacements for what a test cannot fetch: the base image, and the package index.

There is no container registry where the tests run. The base image is Debian's own release of the
same name and its Python, with /usr/local as a virtual environment: the same paths, the same minor
version. The distributions of the locks are fetched before the build, which gets no index.
"""

import fcntl
import os
import re
import sys
from pathlib import Path

from tests.image.commands import output

_BASE = re.compile(r"^FROM (python:\S+-slim-(\w+)@\S+)", re.MULTILINE)
_NAME = "localhost/base"
_PIP = "[global]\nno-index = true\nfind-links = /wheels\n"


def base_options(context: Path, buildah: tuple[str | Path, ...]) -> tuple[str, ...]:
    """Make the base image, and return the option of `buildah build` that replaces the true one.

    Raises:
        ImageError: it cannot be made.
    """
    found = _BASE.search((context / "Dockerfile").read_text(encoding="utf-8"))
    assert found is not None
    reference, release = found.groups()
    container = output(*buildah, "from", "scratch").strip()
    output(*buildah, "add", "--quiet", container, _file_system(release), "/")
    output(*buildah, "commit", "--quiet", "--rm", container, _NAME)
    return ("--build-context", f"{reference}=container-image://{_NAME}")


def index_options(context: Path, folder: Path) -> tuple[str, ...]:
    """Fetch what the locks name, and return the options that show it to a build's pip.

    Raises:
        ImageError: it cannot be fetched.
    """
    wheels = folder / "wheels"
    for lock in (context / "deployments" / "image").glob("*.lock"):
        fetch(lock, wheels)
    (folder / "pip.conf").write_text(_PIP, encoding="utf-8")
    return (
        f"--volume={wheels}:/wheels:ro",
        f"--volume={folder / 'pip.conf'}:/etc/pip.conf:ro",
    )


def fetch(lock: Path, wheels: Path, *options: str) -> None:
    """Fetch the wheels of a lock, hash and all.

    Raises:
        ImageError: one cannot be fetched.
    """
    form = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")
    command = (sys.executable, "-m", "pip", "download", "--require-hashes", *form, *options)
    output(*command, "--dest", wheels, "--requirement", lock)


def _file_system(release: str) -> Path:
    """The files of the base image, as a tar file; kept in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "gpu-metrics-server"
    made = folder / f"base-{release}.tar"
    folder.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes, one of which makes it.
    with (folder / "base-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            new = folder / f"new-{release}.tar"
            new.unlink(missing_ok=True)
            output(
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
                "--include=ca-certificates,python3-venv",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                '--customize-hook=chroot "$1" python3 -m venv /usr/local',
                *(release, new),
            )
            new.rename(made)
    return made
