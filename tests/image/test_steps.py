"""The Dockerfile's steps, executed without a container engine: this runs everywhere."""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from metrics_server import __version__
from metrics_server.wiring.options import ServeOptions
from tests.deployments.manifests import ROOT, SERVER
from tests.image.steps import Stage, StepError, build, copy_context, environment
from tests.image.test_recipe import LOCKS, locked
from tests.image.uncompiled import UNCOMPILED
from tests.support.wheels import WheelsUnavailableError, only_from, wheels

PATIENCE_SECONDS = 60


@pytest.fixture
def final(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The Dockerfile's final stage, readable by the image's user."""
    folder = Path(tempfile.mkdtemp(prefix="steps-"))
    folder.chmod(0o755)
    try:
        kept = wheels(environment() / "bin" / "python", *LOCKS.values())
        for name, value in only_from(kept).items():
            monkeypatch.setenv(name, value)
        yield build(ROOT, folder)
    except WheelsUnavailableError as error:
        if os.environ.get("CI") or "No matching distribution" not in f"{error}":
            raise
        pytest.skip("no package index can be reached")
    finally:
        shutil.rmtree(folder)


def check_what_is_installed(final: Stage) -> None:
    """The result has the locked distributions and this one; neither pip nor build tools."""
    names = [
        path.name.removesuffix(".dist-info").split("-")
        for path in final.python.glob("lib/python3*/site-packages/*.dist-info")
    ]
    installed = {canonicalize_name(name): version for name, version in names}
    assert installed == {**locked("requirements"), SERVER: __version__}
    for module in ("pip", "setuptools", "wheel", "hatchling"):
        assert final.run("python", "-c", f"import {module}").returncode != 0


def check_its_user(final: Stage) -> None:
    """The entry point works as the image's user, who may not write to its working folder."""
    shown = final.run(*final.one("ENTRYPOINT").words, "--version")
    assert (shown.stdout, shown.stderr) == (f"{__version__}\n", "")
    if os.geteuid() == 0:
        assert final.run("id", "-u").stdout == "65532\n"
        assert final.run("touch", "written").returncode != 0


def check_bytecode(final: Stage) -> None:
    """Everything that the server imports has bytecode, as the user cannot write any."""
    shown = final.run("python", "-c", UNCOMPILED)
    assert (shown.stdout, shown.stderr) == ("[]\n", "")


def check_the_health_check(final: Stage) -> None:
    """The health check fails without a server, and succeeds with one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    code = final.one("HEALTHCHECK").words
    assert str(ServeOptions().secure_port) in code[-1]
    check = [word.replace(str(ServeOptions().secure_port), str(port)) for word in code]
    assert final.run(*check).returncode != 0
    # The demo, which needs no cluster.
    words = (*final.one("ENTRYPOINT").words, "demo", f"--port={port}")
    with final.start(*words) as server:
        try:
            assert server.stdout is not None
            # It also ends with the server.
            serving = f"serving at https://127.0.0.1:{port}"
            assert any(serving in line for line in server.stdout), server.communicate()
            assert final.run(*check).returncode == 0
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=PATIENCE_SECONDS)


@pytest.mark.slow
def test_every_step_works(final: Stage) -> None:
    """All checks use one build, which takes a while."""
    check_what_is_installed(final)
    check_its_user(final)
    check_bytecode(final)
    check_the_health_check(final)


def test_a_build_gets_only_what_it_needs(tmp_path: Path) -> None:
    """No history, secrets, tests or caches; what a later pattern includes is there."""
    sources, context = tmp_path / "sources", tmp_path / "context"
    kept = {"pyproject.toml", "metrics_server/a.py", "deployments/image/build.lock"}
    hidden = {".git/config", "certs/tls.key", "deployments/rbac.yaml", "tests/test_a.py"}
    for name in (*kept, *hidden, "metrics_server/__pycache__/a.pyc"):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).touch()
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copy_context(sources, context, patterns[1:])
    found = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}
    assert found == kept


@pytest.mark.slow
def test_a_step_that_fails_is_reported(tmp_path: Path) -> None:
    """With its output; so are files that cannot be copied, or unsupported instructions."""
    (tmp_path / ".dockerignore").write_text("secret\n")
    (tmp_path / "secret").touch()
    for step, reason in (
        ("RUN echo out of space && exit 1", "\nout of space\n"),
        ("COPY secret ./", r"\.dockerignore hides secret"),
        ("SHELL sh", "SHELL is not supported here"),
    ):
        (tmp_path / "Dockerfile").write_text(f"FROM python\n{step}\n")
        with pytest.raises(StepError, match=reason):
            build(tmp_path, tmp_path.with_name(f"{step[:4]}-build"))
