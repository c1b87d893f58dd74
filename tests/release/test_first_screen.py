"""What the README's first screen shows works, from a clone and from the wheel alone.

The demos from the wheel are a part of each release (`test_release.py`).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments.manifests import ROOT
from tests.release.__main__ import _build, demos, run

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS = 120


@pytest.mark.slow
def test_the_demos_run_from_a_clone() -> None:
    """Each `make demo` ends well, and shows where its metric is; all run at once."""
    environment = Path(sys.prefix)
    # With the environment of the tests, which is not made again.
    make = ("make", f"VENV={environment}", f"--old-file={environment / 'program'}", "demo")
    shown = [" ".join(arguments) for arguments in demos(README)]
    assert "" in shown
    assert len(shown) >= 5
    started = [
        subprocess.Popen(  # noqa: S603 - the README's own
            (*make, f"ARGS={arguments} --duration 3s"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for arguments in shown
    ]
    try:
        for arguments, process in zip(shown, started, strict=True):
            out, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, f"{arguments}: {out}"
            assert "metrics.k8s.io" in out, arguments
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_the_wheel_runs_by_pipx(tmp_path: Path) -> None:
    """With the README's command; pipx fetches the rest."""
    pipx = shutil.which("pipx")
    if pipx is None:
        pytest.skip("pipx is not installed")
    found = re.search(r"`pipx (run --spec )\S+( gpu-metrics-server demo)`", README)
    assert found is not None
    run(tmp_path, "git", "clone", "--quiet", ROOT, tmp_path / "clone")
    _build(tmp_path / "clone", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    done = subprocess.run(  # noqa: S603 - the README's own
        (pipx, *found[1].split(), wheel, *found[2].split(), "--duration=10s"),
        env={**os.environ, "PIPX_HOME": str(tmp_path / "pipx")},
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It scaled" in done.stdout
