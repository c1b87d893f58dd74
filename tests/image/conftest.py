"""The image, built by buildah from stand-ins."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from tests.deployments.manifests import ROOT
from tests.image.__main__ import committed, make
from tests.image.archive import Image
from tests.image.commands import ImageError, output
from tests.image.container import Container, storage
from tests.image.engines import Build, Engine, check_platform, engine, own_platform
from tests.image.stand_in import base_options, index_options

# The stand-in contains all of Debian's Python, perl and apt.
LIMIT_BYTES = 512 << 20


class Built(msgspec.Struct, frozen=True):
    """The output of `make image`.

    Attributes:
        build: the build.
        engine: the program.
        folder: contains the files.
        image: the one for this machine's platform.
        images: for every platform that can run here, even if by emulation.
    """

    build: Build
    engine: Engine
    folder: Path
    image: Image
    images: tuple[Image, ...]


@pytest.fixture(scope="session")
def built() -> Iterator[Built]:
    """The image of the working tree."""
    if "IMAGE_TEST" not in os.environ:
        pytest.skip("`make image-test` builds the image and tests it, which takes minutes")
    missing = [name for name in ("buildah", "mmdebstrap") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        # Not skipped: the run requires it.
        pytest.fail(f"it takes root, and Debian's packages buildah and mmdebstrap: {missing}")
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    options = storage(folder)
    buildah = ("buildah", *options)
    try:
        yield _make(folder, buildah, engine(options))
    finally:
        output(*buildah, "rm", "--all")
        shutil.rmtree(folder)


def _make(folder: Path, buildah: tuple[str | Path, ...], by: Engine) -> Built:
    context = folder / "context"
    shutil.copytree(ROOT, context, ignore=shutil.ignore_patterns(".venv*", ".*_cache"))
    commit = output("git", "rev-parse", "HEAD", folder=ROOT).strip()
    platforms = tuple(platforms_here())
    options = (
        *base_options(context, buildah, platforms),
        *index_options(context, folder, platforms),
    )
    build = msgspec.structs.replace(committed(context, platforms, commit, ROOT), options=options)
    images = make(build, by, commit, folder / "dist", LIMIT_BYTES)
    (image,) = (image for image in images if str(image.platform) == own_platform())
    return Built(build, by, folder / "dist", image, tuple(images))


def platforms_here() -> Iterator[str]:
    """The platforms that can run here."""
    for platform in ("linux/amd64", "linux/arm64"):
        with suppress(ImageError):
            check_platform(platform)
            yield platform


@pytest.fixture(scope="session")
def container(built: Built) -> Iterator[Container]:
    """A container of the image."""
    made = Container(built.folder.with_name("container"), built.image.archive, own_platform())
    yield made
    made.remove()
