"""The chart with the oldest Helm that docs/install.md supports, a Helm 3."""

import re

import pytest

from tests.deployments.chart import CHART, EXAMPLES, WITH_NAMESPACE, example, lint, ran, values
from tests.deployments.manifests import ROOT, SERVER
from tests.support.carried import oldest_helm
from tests.support.documents import load_all

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_makes_the_same_objects(name: str) -> None:
    """They are those of the current Helm."""
    rendered = ran("template", SERVER, CHART, *WITH_NAMESPACE, *values(name), by=oldest_helm())
    assert rendered.returncode == 0, rendered.stderr
    assert load_all(rendered.stdout) == example(name)


def test_the_examples_pass_its_checks() -> None:
    """`helm lint --strict` reports nothing."""
    lint(by=oldest_helm())


def test_a_mistake_is_refused() -> None:
    """The schema applies there, too, and so do the chart's own checks."""
    for argument, reason in (
        ("--set=config.fallback.chian={error}", "chian"),
        ("--set=apis.external=false,apis.custom=false", "nothing would be served"),
    ):
        done = ran("template", SERVER, CHART, argument, by=oldest_helm())
        assert done.returncode != 0
        assert reason in done.stderr


def test_it_is_the_oldest_that_the_guide_allows() -> None:
    """docs/install.md names its version."""
    found = re.search(
        r"Helm (3\.\d+) or newer", (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    )
    assert found is not None
    shown = ran("version", "--short", by=oldest_helm())
    assert shown.stdout.startswith(f"v{found[1]}.")
