"""The README's first screen works, from a clone and from the wheel alone.

The demos from the wheel are part of each release (`test_release.py`).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments.manifests import ROOT
from tests.image.steps import new_environment
from tests.image.test_recipe import LOCKS
from tests.release.__main__ import demos, run
from tests.release.made import released
from tests.support.wheels import only_from, wheels

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS = 120


@pytest.mark.slow
def test_the_demos_run_from_a_clone() -> None:
    """`make demo` succeeds, and says where its metric is; with arguments, too.

    For the demos with flags of their own it is enough that `make` starts what a release starts
    from the wheel.
    """
    environment = Path(sys.prefix)
    # With the tests' environment, instead of building another.
    built = (f"VENV={environment}", f"--old-file={environment / 'program'}")
    make = ("make", "--no-print-directory", *built, "demo")
    shown = [" ".join(arguments) for arguments in demos(README)]
    assert shown[0] == ""
    assert len(shown) >= 5
    for arguments in shown:
        command = f"{environment}/bin/gpu-metrics-server demo {arguments}"
        assert run(ROOT, *make, f"ARGS={arguments}", "--dry-run") == f"{command}\n"
    assert "metrics.k8s.io" in run(ROOT, *make, "ARGS=--duration 3s")


@pytest.mark.slow
def test_the_wheel_runs_by_pipx(tmp_path: Path) -> None:
    """A release's wheel, with the README's command; pipx installs its locked requirements."""
    pipx = shutil.which("pipx")
    if pipx is None:
        pytest.skip("pipx is not installed")
    found = re.search(r"`pipx (run --spec )\S+( gpu-metrics-server demo)`", README)
    assert found is not None
    (wheel,) = released().glob("dist/*.whl")
    shared = new_environment(tmp_path / "shared")
    # It may be kept for long, and pipx upgrades one that is a month old.
    (shared / "bin" / "pip").touch()
    python = shared / "bin" / "python"
    settings = {
        **only_from(wheels(python, *LOCKS.values())),
        # Only imported modules are compiled, not all that is installed.
        "PIP_COMPILE": "0",
        "PIP_NO_WARN_CONFLICTS": "1",
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_DEFAULT_PYTHON": str(python),
        # It already has pip; pipx would build it again.
        "PIPX_SHARED_LIBS": str(shared),
    }
    done = subprocess.run(  # noqa: S603 - the README's own
        (pipx, *found[1].split(), wheel, *found[2].split(), "--duration=5s"),
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It scaled" in done.stdout
