"""Build the image: `make image`, or `make image VERSION=1.2.3 PLATFORMS=linux/amd64`.

Builds what is committed: with VERSION, the commit of its tag, otherwise the current one. Writes an
OCI archive with an image for each platform, a bill of materials for each, and the provenance into
dist/.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.image.archive import Image, images, index_digest
from tests.image.bill import bill
from tests.image.commands import ImageError, output
from tests.image.engines import Build, Engine, engine
from tests.image.provenance import provenance
from tests.release.files import current_version

ROOT = Path(__file__).parents[2]
NAME = "gpu-metrics-server"
# Of its unpacked layers: half is the base image.
LIMIT_BYTES = 320 << 20


def main() -> int:
    """Build the image for the command line."""
    parser = argparse.ArgumentParser(prog="make image", description=__doc__)
    parser.add_argument("--version", default="", help="of a release; default: what is committed")
    parser.add_argument("--platforms", default="linux/amd64,linux/arm64")
    arguments = parser.parse_args()
    reference = f"v{arguments.version}" if arguments.version else "HEAD"
    platforms = tuple(arguments.platforms.split(","))
    try:
        with tempfile.TemporaryDirectory() as folder:
            commit = check_out(ROOT, reference, Path(folder))
            build = committed(Path(folder), platforms, commit, ROOT)
            make(build, engine(), commit, ROOT / "dist")
    except ImageError as error:
        sys.stderr.write(f"no image was made: {error}\n")
        return 1
    return 0


def check_out(repository: Path, reference: str, folder: Path) -> str:
    """Export a commit's files into a folder, and return the commit."""
    try:
        commit = output("git", "rev-parse", f"{reference}^{{commit}}", folder=repository).strip()
    except ImageError as error:
        raise ImageError(f"there is no {reference}: `make release` makes it") from error
    archive = folder / ".sources.tar"
    output("git", "archive", "--output", archive, commit, folder=repository)
    output("tar", "--extract", "--file", archive, folder=folder)
    archive.unlink()
    return commit


def committed(folder: Path, platforms: tuple[str, ...], commit: str, repository: Path) -> Build:
    """The build of a commit's files: the same commit gives the same image."""
    seconds = output("git", "log", "-1", "--format=%ct", commit, folder=repository)
    arguments = {"VERSION": current_version(folder), "REVISION": commit}
    return Build(folder, platforms, arguments, int(seconds))


def make(
    build: Build, engine: Engine, commit: str, folder: Path, limit_bytes: int = LIMIT_BYTES
) -> list[Image]:
    """Build, and write the archive, its bills of materials and its provenance into a folder.

    Raises:
        ImageError: the build fails, or the image exceeds the limit.
    """
    version = build.arguments["VERSION"]
    started = time.time()
    stem = f"{NAME}-image-{version}"
    archive = folder / f"{stem}.tar"
    folder.mkdir(exist_ok=True)
    archive.unlink(missing_ok=True)
    engine.build(build, archive)
    made = list(images(archive))
    for image in made:
        size = sum(image.sizes())
        if size > limit_bytes:
            raise ImageError(
                f"the image of {image.platform} has {size >> 20} MiB, more than "
                f"{limit_bytes >> 20}: see what became larger"
            )
        say(f"{image.platform}: {image.digest}, {size >> 20} MiB")
        name = f"{stem}-{str(image.platform).replace('/', '-')}.cdx.json"
        (folder / name).write_text(bill(image, NAME, version, build.created), encoding="utf-8")
    statement = provenance(build, made, engine, commit, started)
    (folder / f"{stem}.intoto.json").write_text(statement, encoding="utf-8")
    say(f"{archive.name}: {index_digest(archive)}, by {engine.version}")
    return made


def say(text: str) -> None:
    """Print a line, unbuffered."""
    print(text, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main())
