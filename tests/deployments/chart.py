"""The Helm chart for tests: Helm's output for some values, as JSON objects."""

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from metrics_server.simulator.kube.objects import Object
from tests.deployments.manifests import DEPLOYMENTS, NAMESPACE, SERVER, at, items
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
    release = _installed(*arguments)
    hooks = (str(at(hook, "manifest")) for hook in items(release, "hooks"))
    return load_all("\n---\n".join((str(at(release, "manifest")), *hooks)))


def example(name: str) -> Sequence[Object]:
    """The objects with an example's values."""
    return render(*WITH_NAMESPACE, *values(name))


def notes(*arguments: str) -> str:
    """The chart's notes after an install."""
    return str(at(_installed(*arguments), "info", "notes"))


def _installed(*arguments: str) -> Object:
    """The release that an install with these values would record."""

    def installed() -> str:
        done = ran("install", SERVER, CHART, "--dry-run=client", "--output=json", *arguments)
        assert done.returncode == 0, done.stderr
        release = json.loads(done.stdout)
        return json.dumps({key: release[key] for key in ("manifest", "hooks", "info")})

    found: Object = json.loads(text_once(shlex.join(("helm", *arguments)), installed))
    return found


def refused(*arguments: str) -> str:
    """The error with which Helm rejects these values."""
    done = ran("template", SERVER, CHART, *arguments)
    assert done.returncode != 0, done.stdout
    return done.stderr


def lint(by: str = "") -> None:
    """Check that `helm lint --strict` reports nothing.

    It judges an object by its kind, its name and the lines of its template, which no other
    values change. So few examples are enough: together, they make every object.
    """
    made = {
        name: {(o["apiVersion"], o["kind"], at(o, "metadata", "name")) for o in example(name)}
        for name in EXAMPLES
    }
    left = set().union(*made.values())
    while left:
        name = max(made, key=lambda name: len(made[name] & left))
        left -= made[name]
        done = ran("lint", "--strict", CHART, *values(name), by=by)
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        assert "[WARNING]" not in done.stdout, (name, done.stdout)


def is_hook(obj: Object) -> bool:
    """Whether an object is not installed, but run by `helm test`."""
    return at(obj, "metadata", "annotations", "helm.sh/hook") is not None
