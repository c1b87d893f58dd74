"""The files that a release changes in the repository: those with the version, and the changelog."""

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_UNRELEASED = "## [Unreleased]\n"
# The files with the version, and how. `pyproject.toml` is first: the others follow it.
_NAMED = {
    "pyproject.toml": ('version = "{}"',),
    "Dockerfile": ("ARG VERSION={}",),
    "deployments/base/metrics-server.yaml": ("image: gpu-metrics-server:{}",),
    "deployments/helm/gpu-metrics-server/Chart.yaml": ("version: {}", "appVersion: {}"),
    "README.md": ("gpu-metrics-server:{}", "newTag: {}"),
    "deployments/README.md": ("gpu-metrics-server:{}", "newTag: {}"),
    "docs/install.md": ("gpu-metrics-server:{}", "newTag: {}"),
    "docs/quickstart.md": ("gpu-metrics-server:{}",),
}


class ReleaseError(Exception):
    """The release cannot be made; the message says why, and what to do."""


class Change(Struct, frozen=True):
    """A file's new content."""

    path: Path
    text: str


def current_version(root: Path) -> str:
    """The version in pyproject.toml."""
    found = re.search(r'^version = "(.+)"$', _read(root / "pyproject.toml"), re.MULTILINE)
    if found is None:
        raise ReleaseError("pyproject.toml has no version")
    return found[1]


def changes(root: Path, version: str, date: str) -> Iterator[Change]:
    """The new contents of the files with the version, and of the changelog.

    Args:
        root: of the repository.
        version: of the release.
        date: of the release, such as 2026-11-26.

    Raises:
        ReleaseError: the version is not a new one, or a file is not as expected.
    """
    old = current_version(root)
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"VERSION={version} is not a version such as 1.2.3")
    released = f"\n## [{old}] - " in _read(root / "CHANGELOG.md")
    if _numbers(version) < _numbers(old) or (released and version == old):
        raise ReleaseError(f"VERSION={version} is not newer than {old}")
    for name, forms in _NAMED.items():
        text = _read(root / name)
        for form in forms:
            pattern = rf"(?<![\w.]){re.escape(form.format(old))}(?![\w.])"
            text, count = re.subn(pattern, form.format(version), text)
            if not count:
                raise ReleaseError(f"{name} has no `{form.format(old)}`")
        yield Change(root / name, text)
    yield Change(root / "CHANGELOG.md", _cut(_read(root / "CHANGELOG.md"), version, date))


def notes(changelog: str, version: str) -> str:
    """The changelog's section about a release."""
    _, _, after = changelog.partition(f"## [{version}] - ")
    return after.partition("\n## [")[0].partition("\n")[2].strip()


def _cut(changelog: str, version: str, date: str) -> str:
    before, heading, after = changelog.partition(_UNRELEASED)
    if not heading:
        raise ReleaseError("CHANGELOG.md has no section [Unreleased]")
    if not after.partition("\n## [")[0].strip():
        raise ReleaseError("CHANGELOG.md has nothing under [Unreleased]")
    return f"{before}{heading}\n## [{version}] - {date}\n{after}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
