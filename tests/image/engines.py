"""The programs that build an image from a Dockerfile: buildah, or docker with buildx."""

import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from tests.image.commands import ImageError, output

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_EMULATORS = Path("/proc/sys/fs/binfmt_misc")


class Build(Struct, frozen=True):
    """What to build.

    Attributes:
        context: the folder of the sources, with the Dockerfile.
        platforms: such as linux/arm64; there is an image for each.
        arguments: values for ARG instructions.
        created: the image's creation time, in seconds since 1970.
        options: more options for `buildah build`.
    """

    context: Path
    platforms: tuple[str, ...]
    arguments: dict[str, str]
    created: int
    options: tuple[str | Path, ...] = ()


class Engine(Struct, frozen=True):
    """A program that builds images.

    Attributes:
        name: of the program.
        version: as it reports itself.
        build: makes an OCI archive of a build.
    """

    name: str
    version: str
    build: Callable[[Build, Path], None]


def engine(storage: tuple[str | Path, ...] = ()) -> Engine:
    """The program that builds images here; buildah if both exist, as it needs no daemon.

    Args:
        storage: buildah's options for where it keeps images.

    Raises:
        ImageError: neither exists.
    """
    if shutil.which("buildah"):
        buildah = ("buildah", *storage)
        return Engine(
            "buildah",
            output(*buildah, "--version").strip(),
            lambda build, archive: _by_buildah(buildah, build, archive),
        )
    if shutil.which("docker"):
        with suppress(ImageError):
            return Engine("docker", output("docker", "buildx", "version").strip(), _by_docker)
    raise ImageError(
        "neither buildah nor docker with buildx is installed: install one, such as Debian's "
        "package buildah"
    )


def _by_buildah(buildah: tuple[str | Path, ...], build: Build, archive: Path) -> None:
    """Build each platform, and put all into one archive.

    chroot isolation needs no container runtime, and works inside a container.
    """
    name = f"localhost/build-{uuid.uuid4().hex}"
    output(*buildah, "manifest", "create", name)
    tags = [f"{name}:{platform.replace('/', '-')}" for platform in build.platforms]
    try:
        for platform, tag in zip(build.platforms, tags, strict=True):
            check_platform(platform)
            target = ("--platform", platform, "--tag", tag)
            options = ("--isolation=chroot", f"--timestamp={build.created}", *build.options)
            output(*buildah, "build", *target, *options, *_arguments(build), build.context)
            output(*buildah, "manifest", "add", name, f"containers-storage:{tag}")
        output(*buildah, "manifest", "push", "--all", name, f"oci-archive:{archive}")
    finally:
        output(*buildah, "manifest", "rm", name)
        for tag in tags:
            # If it was not built, or a container uses it.
            with suppress(ImageError):
                output(*buildah, "rmi", tag)


def check_platform(platform: str) -> None:
    """Make sure that the steps of a platform can run here.

    Raises:
        ImageError: they cannot.
    """
    emulator = {"linux/arm64": "qemu-aarch64", "linux/amd64": "qemu-x86_64"}.get(platform)
    if emulator is None:
        raise ImageError(f"{platform} is not one of linux/amd64 and linux/arm64")
    if platform != own_platform() and not (_EMULATORS / emulator).exists():
        raise ImageError(
            f"this machine cannot run programs of {platform}: install Debian's packages "
            "qemu-user-static and binfmt-support, or leave it out of PLATFORMS"
        )


def own_platform() -> str:
    """The platform of this machine."""
    machine = output("uname", "-m").strip()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


def _by_docker(build: Build, archive: Path) -> None:
    """Build all platforms at once, with a builder that can write OCI archives."""
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "image.tar"
        builder = f"build-{uuid.uuid4().hex}"
        output("docker", "buildx", "create", "--name", builder, "--driver=docker-container")
        try:
            output(
                *("docker", "buildx", "build", "--builder", builder),
                *("--platform", ",".join(build.platforms), "--provenance=mode=max"),
                *("--build-arg", f"SOURCE_DATE_EPOCH={build.created}", *_arguments(build)),
                *("--output", f"type=oci,dest={done},rewrite-timestamp=true", build.context),
            )
        finally:
            output("docker", "buildx", "rm", builder)
        shutil.move(done, archive)


def _arguments(build: Build) -> list[str]:
    return [f"--build-arg={name}={value}" for name, value in build.arguments.items()]
