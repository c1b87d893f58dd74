"""The program that builds the image, and its commands; fake scripts record these."""

from pathlib import Path

import pytest

from tests.image import engines
from tests.image.__main__ import check_out, committed
from tests.image.commands import ImageError, output
from tests.image.engines import Build, engine
from tests.release.__main__ import run


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the only one in PATH except for uname's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    script(folder / "uname", "echo x86_64")
    return folder


def script(path: Path, text: str) -> None:
    """Write a program."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def noting(folder: Path, name: str, end: str = "") -> Path:
    """Write a program that records its calls, and return the record's path."""
    notes = folder / f"{name}.notes"
    script(folder / name, f'echo "$@" >>{notes}\necho {name} 1.2.3\n{end}')
    return notes


def build(*platforms: str) -> Build:
    """A build for some platforms."""
    return Build(Path("/sources"), platforms, {"VERSION": "1.2.3"}, 1_700_000_000)


def test_without_a_program_it_says_what_to_install(programs: Path) -> None:
    """Neither exists; or docker does, but without buildx."""
    with pytest.raises(ImageError, match="neither buildah nor docker with buildx is installed"):
        engine()
    script(programs / "docker", "exit 1")
    with pytest.raises(ImageError, match="neither buildah nor docker with buildx is installed"):
        engine()


def test_buildah_builds_every_platform_into_one_archive(programs: Path, tmp_path: Path) -> None:
    """With the commit's time; and it leaves nothing in its storage."""
    noting(programs, "docker")
    notes = noting(programs, "buildah")
    found = engine(("--root=/store",))
    assert (found.name, found.version) == ("buildah", "buildah 1.2.3")
    found.build(build("linux/amd64"), tmp_path / "image.tar")
    _, create, made, add, push, remove, untag = notes.read_text().splitlines()
    name = create.removeprefix("--root=/store manifest create ")
    assert made == (
        f"--root=/store build --platform linux/amd64 --tag {name}:linux-amd64 --isolation=chroot "
        "--timestamp=1700000000 --build-arg=VERSION=1.2.3 /sources"
    )
    assert add.endswith(f"manifest add {name} containers-storage:{name}:linux-amd64")
    assert push == f"--root=/store manifest push --all {name} oci-archive:{tmp_path}/image.tar"
    assert remove == f"--root=/store manifest rm {name}"
    assert untag == f"--root=/store rmi {name}:linux-amd64"


def test_a_platform_that_cannot_run_here(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what makes it run, and how to build without it."""
    monkeypatch.setattr(engines, "_EMULATORS", tmp_path)
    noting(programs, "buildah")
    script(programs / "uname", "echo riscv64")
    with pytest.raises(ImageError, match="qemu-user-static and binfmt-support, or"):
        engine().build(build("linux/arm64"), tmp_path / "image.tar")
    with pytest.raises(ImageError, match="linux/arm is not one of linux/amd64 and linux/arm64"):
        engine().build(build("linux/arm"), tmp_path / "image.tar")


def test_docker_builds_all_platforms_at_once(programs: Path, tmp_path: Path) -> None:
    """With its own builder, which is removed; the archive appears once it is complete."""
    find = 'for word in "$@"; do case $word in type=oci,dest=*) word=${word#*dest=}; '
    notes = noting(programs, "docker", f'{find} echo image >"${{word%%,*}}";; esac; done')
    archive = tmp_path / "image.tar"
    engine().build(build("linux/amd64", "linux/arm64"), archive)
    assert archive.read_text() == "image\n"
    _, create, made, remove = notes.read_text().splitlines()
    builder = create.split()[3]
    assert made.startswith(
        f"buildx build --builder {builder} --platform linux/amd64,linux/arm64 "
        "--provenance=mode=max --build-arg SOURCE_DATE_EPOCH=1700000000 --build-arg=VERSION=1.2.3"
    )
    assert remove == f"buildx rm {builder}"


def test_a_program_that_fails_is_quoted(programs: Path) -> None:
    """In its own words."""
    script(programs / "buildah", "echo out of space >&2; exit 125")
    with pytest.raises(ImageError, match=r"`buildah --version` failed:\nout of space"):
        engine()


def test_what_is_committed_is_built(tmp_path: Path) -> None:
    """Uncommitted files are not built; a tag that does not exist is reported."""
    repository, folder = tmp_path / "repository", tmp_path / "sources"
    repository.mkdir()
    folder.mkdir()
    run(repository, "git", "init", "--quiet")
    (repository / "pyproject.toml").write_text('version = "1.2.3"\n')
    run(repository, "git", "add", ".")
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    date = "--date=2023-11-14T22:13:20Z"
    run(repository, "git", *identity, "commit", "--quiet", "--message=x", date)
    (repository / "pyproject.toml").write_text('version = "9.9.9"\n')
    commit = check_out(repository, "HEAD", folder)
    made = committed(folder, ("linux/amd64",), commit, repository)
    assert made.arguments == {"VERSION": "1.2.3", "REVISION": commit}
    assert str(made.created) in output("git", "log", "--format=%ct", folder=repository)
    with pytest.raises(ImageError, match=r"there is no v3\.2\.1: `make release` makes it"):
        check_out(repository, "v3.2.1", folder)
