"""The Helm chart for tests: Helm's output for some values, as JSON objects."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from metrics_server.simulator.kube.objects import Object
from tests.deployments.manifests import DEPLOYMENTS, NAMESPACE, SERVER, at
from tests.support.carried import helm
from tests.support.documents import load_all
from tests.support.once import text_once

CHART = DEPLOYMENTS / "helm" / SERVER
EXAMPLES = {path.stem: path for path in sorted((DEPLOYMENTS / "helm" / "examples").glob("*.yaml"))}
# Here the release's record is elsewhere, and the chart creates the namespace.
WITH_NAMESPACE = (
    "--namespace=default",
    "--set=namespace.create=true",
    f"--set=namespace.name={NAMESPACE}",
)


def ran(*arguments: str | Path, by: str = "") -> subprocess.CompletedProcess[str]:
    """The result of an offline Helm command; by the current Helm unless another is named."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "KUBECONFIG": "/dev/null",
        # It ends before garbage would matter.
        "GOGC": "off",
    }
    return subprocess.run(  # noqa: S603 - the commands are the tests' own
        (by or helm(), *arguments),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def values(*names: str) -> list[str]:
    """Helm's arguments for examples of values."""
    return [f"--values={EXAMPLES[name]}" for name in names]


@cache
def render(*arguments: str) -> Sequence[Object]:
    """The objects that Helm renders from the chart, including the hook of `helm test`."""

    def rendered() -> str:
        done = ran("template", SERVER, CHART, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return load_all(text_once(shlex.join(("helm", *arguments)), rendered))


def refused(*arguments: str) -> str:
    """The error with which Helm rejects these values."""
    done = ran("template", SERVER, CHART, *arguments)
    assert done.returncode != 0, done.stdout
    return done.stderr


def is_hook(obj: Object) -> bool:
    """Whether an object is not installed, but run by `helm test`."""
    return at(obj, "metadata", "annotations", "helm.sh/hook") is not None
