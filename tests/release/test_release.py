"""A release is made in a clone, and changes the repository only if everything succeeds."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.release.__main__ import main, run
from tests.release.made import BEFORE, VERSION, clone, released


@pytest.mark.slow
def test_a_release() -> None:
    """Commit, tag, source distribution, wheel and chart have one version, and the sums match."""
    repository = released()
    printed = (repository.parent / "printed").read_text(encoding="utf-8")
    assert f"git push origin main v{VERSION}" in printed
    before = run(repository, "git", "rev-parse", BEFORE)
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
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uncommitted changes, an existing tag, a malformed version: nothing changes."""
    repository = clone(tmp_path / "repository")

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
