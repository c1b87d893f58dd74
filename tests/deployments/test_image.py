import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from metrics_server import __version__
from metrics_server.config.options import ServeOptions
from tests.deployments.dockerfile import Ignored, Stage, Step, build, steps
from tests.deployments.manifests import (
    DEPLOYMENTS,
    ROOT,
    SERVER,
    at,
    find,
    pod_spec,
    read,
    run,
    server_container,
    texts,
    tool,
)

pytestmark = pytest.mark.slow

DOCKERFILE = ROOT / "Dockerfile"
STEPS = list(steps(DOCKERFILE.read_text(encoding="utf-8")))
FINAL = STEPS[max(i for i, step in enumerate(STEPS) if step.instruction == "FROM") :]
LOCKS = {name: DEPLOYMENTS / "image" / f"{name}.lock" for name in ("requirements", "build")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PATIENCE_SECONDS = 30
# Prints which of the installed modules that the server imports have no bytecode.
UNCOMPILED = """
import os, sys, metrics_server.commands.main
from importlib.util import cache_from_source
files = [vars(module).get("__file__") or "" for module in list(sys.modules.values())]
sources = [file for file in files if "site-packages" in file and file.endswith(".py")]
assert len(sources) > 100
print([file for file in sources if not os.path.exists(cache_from_source(file))])
"""


def one(instruction: str) -> Step:
    """The one instruction of its kind in the final stage."""
    (found,) = (step for step in FINAL if step.instruction == instruction)
    return found


def locked(name: str) -> dict[str, str]:
    """The versions in a lock, by the names of distributions."""
    text = LOCKS[name].read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE))


def test_the_dockerfile_is_linted() -> None:
    """The linter has nothing to say."""
    assert run(tool("hadolint"), DOCKERFILE) == ""


def test_every_base_is_pinned_and_the_same() -> None:
    """Both stages have one base, slim, by exact version and digest: what builds is what runs."""
    bases = [step.rest.partition(" AS ")[0] for step in STEPS if step.instruction == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])


@pytest.mark.parametrize("name", LOCKS)
def test_the_locks_name_no_index_and_leave_nothing_open(name: str) -> None:
    """Each distribution has an exact version and a hash, and comes from no address."""
    text = LOCKS[name].read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    for entry in re.split(r"\n(?=\w)", text):
        assert re.match(r"[\w.-]+==[\w.]+", entry)
        assert "--hash=sha256:" in entry


def test_the_locks_are_of_this_project() -> None:
    """What pyproject.toml asks for to run and to build is in the locks, in versions it allows."""
    asked = {
        "requirements": PROJECT["project"]["dependencies"],
        "build": PROJECT["build-system"]["requires"],
    }
    for name, requirements in asked.items():
        versions = locked(name)
        for requirement in map(Requirement, requirements):
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


def test_the_manifests_run_this_image() -> None:
    """User, port, version and arguments are the same in the image and in the Deployment."""
    objects = read(DEPLOYMENTS / "metrics-server.yaml")
    pod, container = pod_spec(find(objects, "Deployment", SERVER)), server_container(objects)
    user = f"{at(pod, 'securityContext', 'runAsUser')}:{at(pod, 'securityContext', 'runAsGroup')}"
    assert one("USER").rest == user
    assert one("EXPOSE").rest == str(at(container, "ports", 0, "containerPort"))
    assert at(container, "image") == f"{SERVER}:{__version__}"
    assert f"VERSION={__version__}" in [s.rest for s in FINAL if s.instruction == "ARG"]
    assert at(container, "command") is None
    assert texts(container, "args")[:1] == one("CMD").form


def test_the_image_tells_what_it_is() -> None:
    """The OCI labels are there, with the project's own description."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', one("LABEL").rest))
    assert labels.keys() == {"title", "description", "version", "revision", "base.name"}
    assert labels["title"] == PROJECT["project"]["name"]
    assert labels["description"] == PROJECT["project"]["description"]


def test_only_what_is_copied_gets_into_the_build() -> None:
    """Of the repository neither history, secrets, tests nor caches reach the build."""
    ignored = Ignored((ROOT / ".dockerignore").read_text(encoding="utf-8"))
    for kept in (".git/config", "certs/tls.key", "tests/support/harness.py", ".venv/bin/python"):
        assert ignored.hides(kept)
    assert ignored.hides("metrics_server/__pycache__/cli.cpython-311.pyc")
    assert not ignored.hides("metrics_server/commands/main.py")


@pytest.fixture(scope="module")
def stages() -> Iterator[dict[str, Stage]]:
    """Every step of the Dockerfile, carried out where the image's user can read."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    folder.chmod(0o755)
    # A copy, so that every build is of the same sources.
    shutil.copytree(
        ROOT,
        folder / "context",
        ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", "tests"),
    )
    try:
        yield build(folder / "context" / "Dockerfile", folder)
    except RuntimeError as error:
        if os.environ.get("CI") or "No matching distribution" not in str(error):
            raise
        pytest.skip("no package index can be reached")
    finally:
        shutil.rmtree(folder)


def test_every_step_works_and_the_result_is_what_is_locked(stages: dict[str, Stage]) -> None:
    """In the result are the locked distributions, this one, and nothing to install or build by."""
    packages = stages[""].python / "lib"
    installed = {
        canonicalize_name(path.name.split("-")[0]): path.name.split("-")[1].removesuffix(".dist")
        for path in packages.glob("python3*/site-packages/*.dist-info")
    }
    assert installed == {**locked("requirements"), SERVER: f"{__version__}"}
    for module in ("pip", "setuptools", "wheel", "hatchling"):
        assert stages[""].run("python", "-c", f"import {module}").returncode != 0


def test_the_result_is_the_same_each_time(stages: dict[str, Stage]) -> None:
    """Another build in the same place has the same files with the same content, byte for byte."""
    first = stages["build"]
    digest = _digest(first.path("installed"))
    place, aside = first.folder, first.folder.with_name("aside")
    place.rename(aside)
    try:
        second = build(place.parent / "context" / "Dockerfile", place.parent, only="build")["build"]
        assert _digest(second.path("installed")) == digest
        assert any(name.endswith(".pyc") for name in digest)
    finally:
        shutil.rmtree(place)
        aside.rename(place)


def _digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def serving(stages: dict[str, Stage]) -> Iterator[int]:
    """The port of the image's server, run as its user; of the demo, which needs no cluster."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    stage = stages[""]
    command = [*one("ENTRYPOINT").form, "demo", f"--port={port}"]
    with subprocess.Popen(  # noqa: S603 - the Dockerfile's own
        command,
        cwd=stage.root,
        env=stage.environment,
        stdout=subprocess.DEVNULL,
        **stage.as_user,
    ) as process:
        try:
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) in (0, 130)


def test_it_runs_as_its_user(stages: dict[str, Stage]) -> None:
    """The entry point works as the user that the image names, who may write nowhere."""
    stage = stages[""]
    told = stage.run(*one("ENTRYPOINT").form, "--version")
    assert told.stdout == f"{__version__}\n"
    if os.geteuid() == 0:
        assert stage.user == (65532, 65532)
        assert stage.run("touch", "written").returncode != 0


def test_nothing_is_compiled_at_the_start(stages: dict[str, Stage]) -> None:
    """All that the server imports has its bytecode, as the user can write none."""
    told = stages[""].run("python", "-c", UNCOMPILED)
    assert (told.stdout, told.stderr) == ("[]\n", "")


def test_the_health_check_tells_whether_it_serves(
    stages: dict[str, Stage], request: pytest.FixtureRequest
) -> None:
    """The health check fails without a server, and succeeds once there is one."""
    code = one("HEALTHCHECK").form
    assert str(ServeOptions().secure_port) in code[-1]

    def check(port: int) -> int:
        words = [word.replace(str(ServeOptions().secure_port), str(port)) for word in code]
        return stages[""].run(*words).returncode

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert check(taken.getsockname()[1]) != 0
    port = request.getfixturevalue("serving")
    end = time.monotonic() + PATIENCE_SECONDS
    while check(port) != 0:
        assert time.monotonic() < end
