"""The image's recipe: the Dockerfile and its locks."""

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deployments.manifests import DEPLOYMENTS, ROOT, run, tool
from tests.image.stand_in import WHEELS
from tests.support.wheels import WheelsUnavailableError, wheels

DOCKERFILE = ROOT / "Dockerfile"
BASE = re.compile(r"^FROM (\S+)", re.MULTILINE)
LOCKS = {name: DEPLOYMENTS / "image" / f"{name}.lock" for name in ("requirements", "build")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked(name: str) -> dict[str, str]:
    """A lock's versions, by distribution."""
    text = LOCKS[name].read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE))


def test_the_dockerfile_is_linted() -> None:
    """The linter reports nothing."""
    assert run(tool("hadolint"), DOCKERFILE) == ""


def test_every_base_is_pinned_and_the_same() -> None:
    """Both stages have the same slim base, pinned by version and digest."""
    bases = BASE.findall(DOCKERFILE.read_text(encoding="utf-8"))
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])


def test_the_dockerfile_is_for_every_architecture() -> None:
    """No step or base depends on an architecture; the builder decides."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert not re.search(r"(?i)amd64|x86|\barm|aarch64|platform|target(arch|os|variant)", text)


@pytest.mark.parametrize("name", LOCKS)
def test_the_locks_name_no_index_and_leave_nothing_open(name: str) -> None:
    """Each distribution has an exact version and a hash, and no address."""
    text = LOCKS[name].read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    for entry in re.split(r"\n(?=\w)", text):
        assert re.match(r"[\w.-]+==[\w.]+", entry)
        assert "--hash=sha256:" in entry


def test_the_locks_are_of_this_project() -> None:
    """The locks have pyproject.toml's run and build requirements, in allowed versions."""
    asked = {
        "requirements": PROJECT["project"]["dependencies"],
        "build": PROJECT["build-system"]["requires"],
    }
    for name, requirements in asked.items():
        versions = locked(name)
        for requirement in map(Requirement, requirements):
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCKS)
def test_all_that_is_locked_has_a_wheel_for_arm64(name: str) -> None:
    """The image is for arm64 too, and nothing is compiled for it."""
    try:
        folder = wheels(Path(sys.executable), LOCKS[name], options=WHEELS["linux/arm64"])
    except WheelsUnavailableError as error:
        if os.environ.get("CI") or "No matching distribution" in f"{error}":
            raise
        pytest.skip(f"the wheels cannot be fetched: {error}")
    fetched = {canonicalize_name(path.name.split("-")[0]) for path in folder.iterdir()}
    assert fetched == {canonicalize_name(name) for name in locked(name)}
    assert not [path.name for path in folder.iterdir() if "x86_64" in path.name]
