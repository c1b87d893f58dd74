"""A release is made in a clone, and changes the repository only if everything worked."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.deployments.manifests import ROOT
from tests.image.test_recipe import LOCKS, locked
from tests.release.__main__ import main, run
from tests.support.wheels import only_from, wheels

VERSION = "98.7.6"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone of this repository."""
    clone = tmp_path / "repository"
    run(tmp_path, "git", "clone", "--quiet", "--shared", ROOT, clone)
    run(clone, "git", "checkout", "--quiet", "-B", "main")
    run(clone, "git", "config", "user.name", "Somebody")
    run(clone, "git", "config", "user.email", "somebody@example.com")
    return clone


def make(repository: Path, version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """How `make release` ends in a repository."""
    command = (sys.executable, "-m", "tests.release", version, f"--repository={repository}")
    return subprocess.run(  # noqa: S603 - the test's own
        (*command, *arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )


def constrained(names: set[str]) -> list[str]:
    """The lines of constraints.txt for some distributions."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if canonicalize_name(line.partition("==")[0]) in names]


@pytest.mark.slow
def test_a_release(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit, tag, source distribution, wheel and chart are of one version, and their sums hold."""
    before = run(repository, "git", "rev-parse", "HEAD")
    needed = tmp_path / "needed.txt"
    needed.write_text("\n".join(constrained(set(locked("requirements")))))
    python = Path(sys.executable)
    for name, value in only_from(wheels(python, LOCKS["build"]), wheels(python, needed)).items():
        monkeypatch.setenv(name, value)
    made = make(repository, VERSION)
    if "Helm is not in the PATH" in made.stderr:
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stdout + made.stderr
    assert f"git push origin main v{VERSION}" in made.stdout
    assert run(repository, "git", "rev-parse", "HEAD~") == before
    assert run(repository, "git", "rev-parse", f"v{VERSION}^{{}}", "HEAD").split()[0] in (
        run(repository, "git", "rev-parse", "HEAD")
    )
    assert "### Added" in run(repository, "git", "tag", "--list", "--format=%(contents)")
    dist = repository / "dist"
    assert {path.name for path in dist.iterdir()} == {
        "SHA256SUMS",
        f"gpu-metrics-server-{VERSION}.tgz",
        f"gpu_metrics_server-{VERSION}-py3-none-any.whl",
        f"gpu_metrics_server-{VERSION}.tar.gz",
    }
    run(dist, "sha256sum", "--check", "--strict", "SHA256SUMS")
    with tarfile.open(dist / f"gpu-metrics-server-{VERSION}.tgz") as chart:
        described = chart.extractfile("gpu-metrics-server/Chart.yaml")
        assert described is not None
        text = described.read().decode()
        assert f"\nversion: {VERSION}\n" in text
        assert f"\nappVersion: {VERSION}\n" in text
    with zipfile.ZipFile(dist / f"gpu_metrics_server-{VERSION}-py3-none-any.whl") as wheel:
        assert not [name for name in wheel.namelist() if name.startswith("tests/")]
    assert run(repository, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_what_keeps_a_release_from_being_made(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uncommitted changes, a tag that exists, a version of another form: nothing changes."""

    def refusal(version: str) -> str:
        words = ("tests.release", version, f"--repository={repository}")
        monkeypatch.setattr("sys.argv", [*words])
        assert main() == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        return shown.err

    before = run(repository, "git", "rev-parse", "HEAD")
    (repository / "README.md").write_text("changed")
    assert "not committed" in refusal(VERSION)
    run(repository, "git", "checkout", "--quiet", "README.md")
    run(repository, "git", "tag", f"v{VERSION}")
    assert f"the tag v{VERSION} exists already" in refusal(VERSION)
    assert "is not a version such as 1.2.3" in refusal("1.2")
    assert run(repository, "git", "rev-parse", "HEAD") == before
    assert not (repository / "dist").exists()
