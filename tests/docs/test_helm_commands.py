"""The chart accepts the guides' Helm commands."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.deployments.chart import CHART, WITH_NAMESPACE, ran, render
from tests.deployments.manifests import (
    DEPLOYMENTS,
    NAMESPACE,
    ROOT,
    SERVER,
    at,
    build,
    find,
    mapping,
    server_container,
)
from tests.deployments.test_chart_objects import by_name
from tests.docs.test_guides import PAGES, blocks, manifests, shell_lines
from tests.support.guides import inline

pytestmark = pytest.mark.slow

# Flags that `helm template` lacks and does not need.
ONLY_TO_INSTALL = {"--install"}


def commands() -> Iterator[list[str]]:
    """Every command on a page that installs or upgrades the chart, as words."""
    for page in PAGES:
        for line in shell_lines(page):
            if re.match(r"helm (install|upgrade) \S", line) and "deployments/helm" in line:
                yield shlex.split(line.rstrip(" ."))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_command_renders(words: list[str]) -> None:
    """Its values are the chart's, its files exist, and it installs the server."""
    assert words[2] == SERVER
    assert ROOT / words[3] == CHART
    rest = [str(ROOT / w) if w.startswith("deployments/") else w for w in words[4:]]
    rest = [w for w in rest if w not in ONLY_TO_INSTALL]
    done = ran("template", SERVER, CHART, *rest)
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert at(find(objects, "Deployment", SERVER), "metadata", "namespace") == NAMESPACE


@pytest.mark.parametrize("page", ["README.md", "docs/install.md", "deployments/README.md"])
def test_helm_and_kustomize_install_the_same(page: str, tmp_path: Path) -> None:
    """The README's Helm command creates the same objects as the folder on the pages."""
    shown = [one for one in manifests(ROOT / page) if one.get("kind") == "Kustomization"]
    (own,) = (one for one in shown if one["resources"] == ["../deployments"])
    own["resources"] = [os.path.relpath(DEPLOYMENTS, tmp_path)]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    theirs = by_name(build(str(tmp_path)), tmp_path)
    assert theirs.pop(("Namespace", None, NAMESPACE))
    line = next(line for line in shell_lines(ROOT / "README.md") if line.startswith("helm install"))
    _, _, _, _, *arguments = shlex.split(line)
    arguments.remove("--create-namespace")
    assert by_name(render(*arguments), tmp_path) == theirs
    assert "registry.example.com/gpu-metrics-server:" in str(
        at(server_container(render(*arguments)), "image")
    )
    assert "kubectl apply -k cluster" in shell_lines(ROOT / page)


def test_there_are_commands() -> None:
    """The README and the guides have some, and name the examples."""
    assert len(list(commands())) >= 5
    assert any("--values" in words for words in commands())


def test_the_values_of_the_guide(tmp_path: Path) -> None:
    """The file in docs/install.md is accepted, and does what it says."""
    (shown,) = (one for one in manifests(ROOT / "docs" / "install.md") if "image" in one)
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(shown), encoding="utf-8")
    objects = render(*WITH_NAMESPACE, f"--values={file}")
    config = yaml.safe_load(str(at(find(objects, "ConfigMap", SERVER), "data", "config.yaml")))
    assert config["fallback"] == mapping(shown, "config", "fallback")
    assert config["exporters"]["timeout"] == "3s"


def test_values_that_are_named_exist() -> None:
    """Values set on a command line, between backticks or in a block, are the chart's."""
    page = ROOT / "docs" / "install.md"
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    text = " ".join([*blocks(page, "console"), *inline(page)])
    named = set(re.findall(r"(?<![\w.-])((?:priorityClass|apis|namespace|image)\.\w+)", text))
    assert {"apis.external", "priorityClass.preempting", "image.repository"} <= named
    for name in named:
        assert at(values, *name.split(".")) is not None, name
