"""The manifests for tests: files and built overlays, as JSON objects."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from metrics_server.simulator.kube.objects import Json, Object
from tests.support.carried import kubectl
from tests.support.documents import load_all
from tests.support.once import text_once

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = ROOT / "deployments"
OVERLAYS = sorted(path.name for path in (DEPLOYMENTS / "overlays").iterdir())
# Applied one by one instead of as a folder.
FILES = (
    "dcgm-exporter",
    "rbac",
    "metrics-server",
    "apiservice",
    "custom-metrics",
    "network-policies",
)
EXAMPLES = ("hpa-example.yaml", "gpu-load-test.yaml")
# Separate: before Kubernetes 1.37 it needs a feature gate.
SCALE_TO_ZERO = "llm-scale-to-zero.yaml"
SERVER = "gpu-metrics-server"
NAMESPACE = "gpu-monitoring"


def tool(name: str) -> str:
    """A program's path; if it is missing, tests fail in CI, and are skipped elsewhere."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed: .ci/run must install it")
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, stdin: str = "") -> str:
    """The output of a command, which must succeed."""
    # It ends before garbage would matter; collecting it costs kubectl a third of its time.
    environment = {**os.environ, "GOGC": "off"}
    done = subprocess.run(  # noqa: S603 - the commands are the tests' own
        command, input=stdin, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def read(path: Path) -> list[Object]:
    """The objects of a file."""
    return _parse(path.read_text(encoding="utf-8"))


@cache
def build(folder: str) -> Sequence[Object]:
    """The objects that `kubectl kustomize` builds from a folder under deployments/."""
    command = (kubectl(), "kustomize", DEPLOYMENTS / folder)
    return _parse(text_once(f"kustomize {folder}", lambda: run(*command)))


def built() -> Iterator[tuple[str, Sequence[Object]]]:
    """The objects of the default and of every overlay, by folder."""
    yield ".", build(".")
    for overlay in OVERLAYS:
        yield f"overlays/{overlay}", build(f"overlays/{overlay}")


def find(objects: Sequence[Object], kind: str, name: str) -> Object:
    """The only object of a kind with a name."""
    (found,) = (o for o in objects if o["kind"] == kind and at(o, "metadata", "name") == name)
    return found


def kinds(objects: Sequence[Object], *wanted: str) -> list[Object]:
    """The objects of these kinds."""
    return [o for o in objects if o["kind"] in wanted]


def at(value: Json, *path: str | int) -> Json:
    """The value at a path; None if missing."""
    for step in path:
        match value, step:
            case dict(), str():
                value = value.get(step)
            case list(), int():
                value = value[step] if step < len(value) else None
            case _:
                return None
    return value


def items(value: Json, *path: str | int) -> list[Json]:
    """The list at a path; empty if missing."""
    found = at(value, *path)
    assert found is None or isinstance(found, list)
    return found or []


def texts(value: Json, *path: str | int) -> list[str]:
    """The list of strings at a path; empty if missing."""
    found = items(value, *path)
    assert all(isinstance(one, str) for one in found)
    return [str(one) for one in found]


def mapping(value: Json, *path: str | int) -> Object:
    """The object at a path; empty if missing."""
    found = at(value, *path)
    assert found is None or isinstance(found, dict)
    return found or {}


def pod_spec(obj: Object) -> Object:
    """The pod spec of a Pod or of a workload."""
    return (
        mapping(obj, "spec") if obj["kind"] == "Pod" else mapping(obj, "spec", "template", "spec")
    )


def server_container(objects: Sequence[Object]) -> Object:
    """The server's container."""
    return mapping(pod_spec(find(objects, "Deployment", SERVER)), "containers", 0)


def config_of(objects: Sequence[Object]) -> Object:
    """The configuration in the server's ConfigMap."""
    text = at(find(objects, "ConfigMap", SERVER), "data", "config.yaml")
    assert isinstance(text, str)
    (found,) = _parse(text)
    return found


def _parse(text: str) -> list[Object]:
    return load_all(text)
