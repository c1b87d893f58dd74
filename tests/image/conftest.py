"""The image, built by buildah from the stand-ins."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.deployments.manifests import ROOT, tool
from tests.image.__main__ import committed, make
from tests.image.archive import Image
from tests.image.commands import ImageError, output
from tests.image.container import Container
from tests.image.engines import Build, Engine, engine
from tests.image.stand_in import base_options, index_options

# The stand-in has all of Debian's Python, perl and apt.
LIMIT_BYTES = 512 << 20


class Built(msgspec.Struct, frozen=True):
    """What `make image` makes.

    Attributes:
        build: of what.
        engine: by what.
        folder: with the files.
        image: the one of this machine's platform.
        buildah: the command, with the storage of the tests.
    """

    build: Build
    engine: Engine
    folder: Path
    image: Image
    buildah: tuple[str | Path, ...]


@pytest.fixture(scope="session")
def built() -> Iterator[Built]:
    """The image of the working tree."""
    if "IMAGE_TEST" not in os.environ:
        pytest.skip("`make image-test` tests the image: it builds one")
    tool("buildah")
    tool("mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("the base image's files cannot be made without root")
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    storage = (f"--root={folder / 'store'}", f"--runroot={folder / 'run'}", "--storage-driver=vfs")
    buildah = ("buildah", *storage)
    try:
        yield _make(folder, buildah, engine(storage))
    finally:
        output(*buildah, "rm", "--all")
        shutil.rmtree(folder)


def _make(folder: Path, buildah: tuple[str | Path, ...], by: Engine) -> Built:
    context = folder / "context"
    shutil.copytree(ROOT, context, ignore=shutil.ignore_patterns(".venv*", ".*_cache"))
    commit = output("git", "rev-parse", "HEAD", folder=ROOT).strip()
    machine = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[os.uname().machine]
    try:
        options = (*base_options(context, buildah), *index_options(context, folder))
    except ImageError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the stand-ins cannot be fetched: {error}")
    build = msgspec.structs.replace(committed(context, (machine,), commit, ROOT), options=options)
    (image,) = make(build, by, commit, folder / "dist", LIMIT_BYTES)
    return Built(build, by, folder / "dist", image, buildah)


@pytest.fixture(scope="session")
def container(built: Built) -> Container:
    """A container of the image."""
    return Container(built.buildah, built.image.archive)
