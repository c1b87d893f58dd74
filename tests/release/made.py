"""A release of this repository's commit, made once for all tests that examine it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.deployments.manifests import ROOT
from tests.image.test_recipe import LOCKS, locked
from tests.release.__main__ import run
from tests.support.once import once
from tests.support.wheels import only_from, wheels

VERSION = "98.7.6"
# In the repository of the release: the branch that it started from.
BEFORE = "before"


def released() -> Path:
    """A clone in which `make release` succeeded; its output is in the file `printed` beside it.

    Without Helm the test is skipped.
    """
    return once("release", _release) / "repository"


def clone(folder: Path) -> Path:
    """A clone of this repository in a new folder."""
    run(ROOT, "git", "clone", "--quiet", "--shared", ROOT, folder)
    run(folder, "git", "checkout", "--quiet", "-B", "main")
    run(folder, "git", "config", "user.name", "Somebody")
    run(folder, "git", "config", "user.email", "somebody@example.com")
    return folder


def _release(folder: Path) -> None:
    folder.mkdir()
    repository = clone(folder / "repository")
    run(repository, "git", "branch", BEFORE)
    needed = folder / "needed.txt"
    needed.write_text("\n".join(_constrained(set(locked("requirements")))))
    python = Path(sys.executable)
    kept = only_from(wheels(python, LOCKS["build"]), wheels(python, needed))
    done = subprocess.run(  # noqa: S603 - the test's own
        (sys.executable, "-m", "tests.release", VERSION, f"--repository={repository}"),
        cwd=ROOT,
        env={**os.environ, **kept},
        capture_output=True,
        text=True,
        check=False,
    )
    if "Helm is not in the PATH" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed").write_text(done.stdout, encoding="utf-8")


def _constrained(names: set[str]) -> list[str]:
    """The lines in constraints.txt for some distributions."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if canonicalize_name(line.partition("==")[0]) in names]
