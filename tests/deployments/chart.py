"""The Helm chart as the tests read it: what Helm renders with some values, as JSON objects."""

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
# The release's record is elsewhere then, and the chart makes the namespace.
WITH_NAMESPACE = (
    "--namespace=default",
    "--set=namespace.create=true",
    f"--set=namespace.name={NAMESPACE}",
)


def ran(*arguments: str | Path, by: str = "") -> subprocess.CompletedProcess[str]:
    """How a Helm command ends that asks no cluster; by the current Helm unless another is named."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "KUBECONFIG": "/dev/null",
        # It is over before garbage would matter.
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
    """The objects that Helm makes of the chart, among them the hook of `helm test`."""

    def rendered() -> str:
        done = ran("template", SERVER, CHART, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return load_all(text_once(shlex.join(("helm", *arguments)), rendered))


def refused(*arguments: str) -> str:
    """What Helm says that refuses these values."""
    done = ran("template", SERVER, CHART, *arguments)
    assert done.returncode != 0, done.stdout
    return done.stderr


def is_hook(obj: Object) -> bool:
    """Whether an object is not installed, but run by `helm test`."""
    return at(obj, "metadata", "annotations", "helm.sh/hook") is not None
