"""Reads an image's OCI archive: its platforms, configuration, layers and files."""

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec
from msgspec import Struct, field

_INDEX = "application/vnd.oci.image.index.v1+json"
_CHUNK_BYTES = 1 << 20


class Platform(Struct, frozen=True):
    """An image's platform."""

    os: str = ""
    architecture: str = ""

    def __str__(self) -> str:
        """In the form of --platform."""
        return f"{self.os}/{self.architecture}"


class Descriptor(Struct, frozen=True, rename="camel"):
    """A reference to a blob."""

    media_type: str
    digest: str
    platform: Platform = Platform()


class _Index(Struct, frozen=True):
    manifests: tuple[Descriptor, ...]


class _Manifest(Struct, frozen=True):
    config: Descriptor
    layers: tuple[Descriptor, ...]


class Settings(Struct, frozen=True, rename="pascal"):
    """How a container of the image is run."""

    user: str = ""
    working_dir: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    exposed_ports: dict[str, dict[str, str]] = {}


class _Config(Struct, frozen=True):
    config: Settings = field(default_factory=Settings)


class Image(Struct, frozen=True):
    """The image of one platform.

    Attributes:
        archive: its path.
        platform: it runs on this.
        digest: of its manifest.
        settings: how it is run.
        layers: from the base up.
    """

    archive: Path
    platform: Platform
    digest: str
    settings: Settings
    layers: tuple[Descriptor, ...]

    def sizes(self) -> list[int]:
        """The size of each unpacked layer in bytes."""
        return [_unpacked_bytes(self.archive, layer) for layer in self.layers]

    def files(self, *patterns: str) -> dict[str, bytes]:
        """The files of the image whose paths match one of these, such as "/usr/bin/*"."""
        found: dict[str, bytes] = {}
        for layer in self.layers:
            _apply(self.archive, layer, patterns, found)
        return found


def index_digest(archive: Path) -> str:
    """The digest by which a registry knows all of an image's platforms."""
    (one,) = _index(archive).manifests
    return one.digest


def images(archive: Path) -> Iterator[Image]:
    """The images of an archive, one for each platform; attestations are not images."""
    pending = list(_index(archive).manifests)
    while pending:
        one = pending.pop(0)
        if one.media_type == _INDEX:
            pending += msgspec.json.decode(_blob(archive, one), type=_Index).manifests
        elif one.platform.os != "unknown":
            manifest = msgspec.json.decode(_blob(archive, one), type=_Manifest)
            config = _blob(archive, manifest.config)
            yield Image(
                archive,
                msgspec.json.decode(config, type=Platform),
                one.digest,
                msgspec.json.decode(config, type=_Config).config,
                manifest.layers,
            )


def _index(archive: Path) -> _Index:
    with tarfile.open(archive) as tar, _member(tar, "index.json") as file:
        return msgspec.json.decode(file.read(), type=_Index)


def _blob(archive: Path, descriptor: Descriptor) -> bytes:
    with tarfile.open(archive) as tar, _member(tar, _name(descriptor)) as file:
        return file.read()


def _name(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.replace(':', '/')}"


@contextmanager
def _member(tar: tarfile.TarFile, name: str) -> Iterator[IO[bytes]]:
    file = tar.extractfile(name)
    assert file is not None
    with file:
        yield file


@contextmanager
def _layer(archive: Path, layer: Descriptor) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """An unpacked layer, which is a tar file."""
    with tarfile.open(archive) as tar, _member(tar, _name(layer)) as file:
        if layer.media_type.endswith("gzip"):
            with gzip.open(file) as unpacked:
                yield unpacked
        else:
            yield file


def _unpacked_bytes(archive: Path, layer: Descriptor) -> int:
    with _layer(archive, layer) as file:
        return sum(map(len, iter(lambda: file.read(_CHUNK_BYTES), b"")))


def _apply(
    archive: Path, layer: Descriptor, patterns: tuple[str, ...], found: dict[str, bytes]
) -> None:
    """Apply a layer to the files below: it adds files, and removes them by "whiteouts"."""
    with _layer(archive, layer) as file, tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            path = PurePosixPath("/", member.name)
            if path.name.startswith(".wh."):
                opaque = path.name == ".wh..wh..opq"
                gone = path.parent if opaque else path.with_name(path.name.removeprefix(".wh."))
                for name in [name for name in found if PurePosixPath(name).is_relative_to(gone)]:
                    del found[name]
            elif member.isfile() and any(path.match(pattern) for pattern in patterns):
                content = tar.extractfile(member)
                assert content is not None
                found[str(path)] = content.read()
