"""Reading an OCI archive, and the documents about it; the archive is handmade."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.image.archive import Image, images, index_digest
from tests.image.bill import bill, packages
from tests.image.engines import Build, Engine
from tests.image.provenance import provenance

ROOT = Path(__file__).parents[2]
DEBIAN = b"""Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u14

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""
SITE = "usr/local/lib/python3.11/site-packages"


def tar(files: dict[str, bytes]) -> bytes:
    """A tar file."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as written:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            written.addfile(info, io.BytesIO(content))
    return whole.getvalue()


class Archive:
    """An archive under construction."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, content: bytes, kind: str, **more: object) -> dict[str, object]:
        """Add a blob, and return its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = content
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": 0} | more

    def image(
        self, architecture: str, layers: list[dict[str, object]], system: str = "linux"
    ) -> dict[str, object]:
        """Add an image, and return its descriptor."""
        platform = {"os": system, "architecture": architecture}
        settings = {"User": "65532:65532", "Cmd": ["serve"]}
        config = self.add(json.dumps({**platform, "config": settings}).encode(), "config.v1+json")
        manifest = json.dumps({"config": config, "layers": layers}).encode()
        return self.add(manifest, "manifest.v1+json", platform=platform)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two platforms and an attestation; the second layer deletes files of the first."""
    made = Archive()
    base = {
        "var/lib/dpkg/status": DEBIAN,
        f"{SITE}/pip-23.dist-info/METADATA": b"Name: pip\nVersion: 23\n\n",
        f"{SITE}/old/old-1.dist-info/METADATA": b"Name: old\nVersion: 1\n\n",
        "opt/a": b"a",
    }
    above = {
        f"{SITE}/.wh.pip-23.dist-info": b"",
        "opt/.wh..wh..opq": b"",
        "./opt/b": b"b",
        f"{SITE}/PyYAML-6.dist-info/METADATA": b"Name: PyYAML\nVersion: 6\n\nVersion: 7\n",
    }
    layers = [
        made.add(tar(base), "layer.v1.tar"),
        made.add(gzip.compress(tar(above)), "layer.v1.tar+gzip"),
    ]
    inner = [
        made.image("amd64", layers),
        made.image("arm64", layers[:1]),
        made.image("unknown", layers, "unknown"),
    ]
    index = made.add(json.dumps({"manifests": inner}).encode(), "index.v1+json")
    path = tmp_path / "image.tar"
    path.write_bytes(tar({**made.files, "index.json": json.dumps({"manifests": [index]}).encode()}))
    return path


def one(archive: Path, architecture: str = "amd64") -> Image:
    """The image for an architecture."""
    (found,) = (image for image in images(archive) if image.platform.architecture == architecture)
    return found


def test_every_platform_has_an_image(archive: Path) -> None:
    """The attestation does not count."""
    assert [f"{image.platform}" for image in images(archive)] == ["linux/amd64", "linux/arm64"]
    assert one(archive).settings.user == "65532:65532"
    assert one(archive).settings.cmd == ("serve",)


def test_the_size_is_that_of_the_layers_unpacked(archive: Path) -> None:
    """Whether compressed or not."""
    assert one(archive).sizes() == [10240, 10240]
    assert one(archive, "arm64").sizes() == [10240]


def test_a_layer_removes_what_is_below(archive: Path) -> None:
    """A single file, and a whole folder."""
    assert one(archive, "arm64").files("/opt/*") == {"/opt/a": b"a"}
    assert one(archive).files("/opt/*") == {"/opt/b": b"b"}


def test_the_bill_lists_what_is_installed(archive: Path) -> None:
    """Debian packages and Python distributions; the bill follows CycloneDX's schema."""
    assert [str(package) for package in packages(one(archive))] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64",
        "pkg:pypi/pyyaml@6",
    ]
    made = bill(one(archive), "gpu-metrics-server", "1.2.3", 1_700_000_000)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made) is None
    assert made == bill(one(archive), "gpu-metrics-server", "1.2.3", 1_700_000_000)
    read = json.loads(made)
    assert read["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert read["metadata"]["component"]["hashes"][0]["content"] in one(archive).digest
    assert [(found["name"], found["version"]) for found in read["components"]] == [
        ("libc6", "2.36-9+deb12u14"),
        ("pyyaml", "6"),
    ]


def test_the_provenance_names_what_came_of_what(archive: Path) -> None:
    """The images' digests, the commit, the base and the locks, and the builder."""
    build = Build(ROOT, ("linux/amd64",), {"VERSION": "1.2.3"}, 1_700_000_000)
    engine = Engine("buildah", "buildah version 1.28.2", lambda _build, _archive: None)
    made = json.loads(provenance(build, list(images(archive)), engine, "c0ffee", 1_700_000_000.5))
    assert {found["name"]: found["digest"]["sha256"] for found in made["subject"]} == {
        "image.tar": index_digest(archive).removeprefix("sha256:"),
        "image.tar#linux/amd64": one(archive).digest.removeprefix("sha256:"),
        "image.tar#linux/arm64": one(archive, "arm64").digest.removeprefix("sha256:"),
    }
    commit, base, *locks = made["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert commit["digest"] == {"gitCommit": "c0ffee"}
    assert f"FROM {base['uri'].removeprefix('docker-image://')}@sha256:" in (
        (ROOT / "Dockerfile").read_text(encoding="utf-8")
    )
    for lock in locks:
        content = (ROOT / lock["name"]).read_bytes()
        assert lock["digest"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(locks) == 2
    details = made["predicate"]["runDetails"]
    assert details["builder"]["version"] == {"buildah": "buildah version 1.28.2"}
    assert details["metadata"]["startedOn"] == "2023-11-14T22:13:20Z"


def test_what_is_not_an_archive_is_reported(tmp_path: Path) -> None:
    """An index in another form is not accepted as an image."""
    path = tmp_path / "image.tar"
    path.write_bytes(tar({"index.json": b'{"manifests": [{}]}'}))
    with pytest.raises(msgspec.ValidationError, match="missing required field"):
        list(images(path))
