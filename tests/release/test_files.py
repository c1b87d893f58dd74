"""The version is changed everywhere, and the changelog is cut."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deployments.manifests import ROOT
from tests.release.files import ReleaseError, changes, current_version, notes

# Other projects' versions, and historical ones.
OTHERS = {"constraints.txt", "CHANGELOG.md"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the files that a release changes."""
    for change in changes(ROOT, "98.7.6", "2026-11-26"):
        path = tmp_path / change.path.relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(change.path, path)
    return tmp_path


def write(root: Path, version: str, date: str = "2026-11-26") -> None:
    """Make a release's changes."""
    for change in list(changes(root, version, date)):
        change.path.write_text(change.text)


def test_no_other_file_names_the_version(copy: Path) -> None:
    """Afterwards no changed or other file contains the old one."""
    old = current_version(ROOT)
    write(copy, "98.7.6")
    listed = subprocess.run(  # noqa: S603 - the test's own
        ["git", "-C", ROOT, "ls-files"],  # noqa: S607 - whichever git there is
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = re.compile(
        rf"gpu.metrics.server[:=-]{re.escape(old)}|[vV]ersion\W{{1,4}}{re.escape(old)}"
    )
    for name in set(listed.stdout.splitlines()) - OTHERS:
        path = copy / name if (copy / name).exists() else ROOT / name
        if path.is_file() and not path.is_symlink() and not name.startswith("tests/"):
            assert not wanted.search(path.read_text(encoding="utf-8", errors="replace")), name
    assert current_version(copy) == "98.7.6"


def test_the_changelog_is_cut(copy: Path) -> None:
    """The unreleased entries become the release's, and a new, empty section begins."""
    before = (copy / "CHANGELOG.md").read_text()
    write(copy, "98.7.6")
    after = (copy / "CHANGELOG.md").read_text()
    assert "## [Unreleased]\n\n## [98.7.6] - 2026-11-26\n" in after
    unreleased = before.partition("## [Unreleased]")[2].partition("\n## [")[0].strip()
    assert notes(after, "98.7.6") == unreleased != ""


def test_a_second_release_needs_something_new(copy: Path) -> None:
    """With nothing unreleased, there is nothing to release."""
    write(copy, "98.7.6")
    with pytest.raises(ReleaseError, match="nothing under"):
        write(copy, "98.7.7")
    with pytest.raises(ReleaseError, match=r"VERSION=98\.7\.6 is not newer than 98\.7\.6"):
        write(copy, "98.7.6")


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.2", "is not a version"), ("v9.9.9", "is not a version"), ("0.0.1", "is not newer")],
)
def test_versions_that_are_none(version: str, expected: str, copy: Path) -> None:
    """A version has three numbers, and is higher than the last."""
    with pytest.raises(ReleaseError, match=expected):
        write(copy, version)


def test_a_file_that_no_longer_names_the_version(copy: Path) -> None:
    """It is reported, with the expected text, and nothing is written."""
    dockerfile = copy / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("ARG VERSION", "ARG RELEASE"))
    with pytest.raises(ReleaseError, match="Dockerfile has no `ARG VERSION="):
        write(copy, "98.7.6")
    assert current_version(copy) == current_version(ROOT)
