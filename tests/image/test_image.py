"""The image as buildah builds it here."""

import json
import re
import shutil
import socket
import time
from pathlib import Path

import msgspec
import pytest
from packaging.utils import canonicalize_name

from metrics_server import __version__
from metrics_server.wiring.options import ServeOptions
from tests.deployments.manifests import (
    DEPLOYMENTS,
    SERVER,
    at,
    find,
    pod_spec,
    read,
    server_container,
    texts,
)
from tests.image.__main__ import make
from tests.image.bill import packages
from tests.image.commands import ImageError
from tests.image.conftest import LIMIT_BYTES, Built
from tests.image.container import Container
from tests.image.engines import Build, own_platform
from tests.image.test_recipe import DOCKERFILE, PROJECT, locked
from tests.image.uncompiled import UNCOMPILED

pytestmark = pytest.mark.slow

HEALTH_CHECK = re.compile(r"^HEALTHCHECK .*\\\n *CMD (\[.*\])$", re.MULTILINE)
PATIENCE_SECONDS = 60


def test_the_manifests_run_this_image(built: Built) -> None:
    """The image and the Deployment have the same user, port, version and arguments."""
    settings = built.image.settings
    objects = read(DEPLOYMENTS / "metrics-server.yaml")
    pod, container = pod_spec(find(objects, "Deployment", SERVER)), server_container(objects)
    user = f"{at(pod, 'securityContext', 'runAsUser')}:{at(pod, 'securityContext', 'runAsGroup')}"
    assert settings.user == user
    assert list(settings.exposed_ports) == [f"{at(container, 'ports', 0, 'containerPort')}/tcp"]
    assert at(container, "image") == f"{SERVER}:{__version__}"
    assert at(container, "command") is None
    assert texts(container, "args")[:1] == list(settings.cmd)


def test_the_labels_describe_the_image(built: Built) -> None:
    """The OCI labels have the project's description, the version and the commit."""
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in built.image.settings.labels.items()
        if name.startswith("org.opencontainers.image.")
    }
    assert labels.pop("base.name").startswith("docker.io/library/python:3.")
    assert labels == {
        "title": PROJECT["project"]["name"],
        "description": PROJECT["project"]["description"],
        "version": __version__,
        "revision": built.build.arguments["REVISION"],
    }


def test_the_image_has_what_is_locked_and_nothing_to_install_more(
    built: Built, container: Container
) -> None:
    """The image has the locked distributions and this one; neither pip nor build tools."""
    pypi = [package for package in packages(built.image) if package.type == "pypi"]
    installed = {canonicalize_name(package.name): package.version for package in pypi}
    assert installed == {**locked("requirements"), SERVER: __version__}
    for module in ("pip", "setuptools", "wheel", "hatchling"):
        assert container.run("python", "-c", f"import {module}").returncode != 0


def test_only_what_is_needed_gets_into_the_image(built: Built) -> None:
    """It contains no tests, secrets, history or caches, nor the build's own tools."""
    packages = "/usr/local/lib/python3.11/site-packages"
    unwanted = ("/build/*", "/wheels/*", f"{packages}/tests/*", f"{packages}/deployments/*")
    found = built.image.files(f"{packages}/metrics_server/__main__.py", *unwanted)
    assert list(found) == [f"{packages}/metrics_server/__main__.py"]


def test_the_same_commit_makes_the_same_image(built: Built, tmp_path: Path) -> None:
    """Another build has the same digest, and so the same files, byte for byte."""
    one = msgspec.structs.replace(built.build, platforms=(own_platform(),))
    again = make(one, built.engine, "0" * 40, tmp_path, LIMIT_BYTES)
    assert [image.digest for image in again] == [built.image.digest]


def test_what_the_image_adds_to_its_base_is_bounded(built: Built) -> None:
    """It adds at most 160 MiB."""
    _, *added = built.image.sizes()
    assert sum(added) < 160 << 20


def test_an_image_that_is_too_large_is_reported(built: Built, tmp_path: Path) -> None:
    """An image over the limit is an error."""

    def build(_: Build, archive: Path) -> None:
        shutil.copy(built.image.archive, archive)

    engine = msgspec.structs.replace(built.engine, build=build)
    with pytest.raises(ImageError, match=r"the image of linux/\w+ has \d+ MiB, more than 1:"):
        make(built.build, engine, "0" * 40, tmp_path, 1 << 20)


def test_it_runs_as_its_user(built: Built, container: Container) -> None:
    """The entry point works as the image's user, who may not write to its root folder."""
    shown = container.run(*built.image.settings.entrypoint, "--version")
    assert (shown.stdout, shown.stderr) == (f"{__version__}\n", "")
    assert container.run("id", "-u").stdout == "65532\n"
    assert container.run("touch", "/written").returncode != 0


def test_every_platform_has_the_same_image(built: Built, tmp_path: Path) -> None:
    """The server runs on each, with the same distributions, libraries and settings.

    That includes arm64 if it can run here: docs/install.md names Debian's packages for it.
    """
    wanted = [package for package in packages(built.image) if package.type == "pypi"]
    for image in built.images:
        store = tmp_path / image.platform.architecture
        container = Container(store, image.archive, str(image.platform))
        machine = {"amd64": "x86_64", "arm64": "aarch64"}[image.platform.architecture]
        assert container.run("uname", "-m").stdout == f"{machine}\n"
        assert [one for one in packages(image) if one.type == "pypi"] == wanted
        assert image.settings == built.image.settings
        shown = container.run(*image.settings.entrypoint, "--version")
        assert (shown.stdout, shown.stderr) == (f"{__version__}\n", "")
        # Compiled modules are there, and load.
        libraries = "cryptography.hazmat.bindings._rust, msgspec, pydantic_core, uvloop, yaml"
        assert container.run("python", "-c", f"import {libraries}").stderr == ""
        container.remove()


def test_nothing_is_compiled_at_the_start(container: Container) -> None:
    """Everything that the server imports has bytecode, as the user cannot write any."""
    shown = container.run("python", "-c", UNCOMPILED)
    assert (shown.stdout, shown.stderr) == ("[]\n", "")


def test_the_health_check_reports_whether_it_serves(built: Built, container: Container) -> None:
    """The health check fails without a server, and succeeds with one.

    It is read from the Dockerfile: OCI images have none, only Docker's own format.
    """
    found = HEALTH_CHECK.search(DOCKERFILE.read_text(encoding="utf-8"))
    assert found is not None
    code: list[str] = json.loads(found[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    assert str(ServeOptions().secure_port) in code[-1]
    words = [word.replace(str(ServeOptions().secure_port), str(port)) for word in code]
    assert container.run(*words).returncode != 0
    # The demo, which needs no cluster.
    with container.running(*built.image.settings.entrypoint, "demo", f"--port={port}"):
        end = time.monotonic() + PATIENCE_SECONDS
        while container.run(*words).returncode != 0:
            assert time.monotonic() < end
