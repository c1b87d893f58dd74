"""Helm's notes after an install: the next commands for these values."""

import json
import re
import shlex

import pytest

from tests.deployments.chart import EXAMPLES, WITH_NAMESPACE, notes, values
from tests.deployments.manifests import NAMESPACE, SERVER

pytestmark = pytest.mark.slow


def commands(text: str) -> list[list[str]]:
    """The commands in it, as words."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if re.match("  (kubectl|helm) ", line)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_says_how_to_go_on(name: str) -> None:
    """With any values: wait, look at the APIServices, test, and ask."""
    text = notes(*WITH_NAMESPACE, *values(name))
    found = [" ".join(words) for words in commands(text)]
    assert f"kubectl -n {NAMESPACE} rollout status deployment {SERVER}" in found
    assert f"helm test {SERVER}" in found
    (looked,) = (one for one in found if one.startswith("kubectl get apiservice "))
    served = {path.split("/")[2] for one in found for path in re.findall(r"/apis/\S+", one)}
    assert len(served) == 1
    assert served.pop() in looked
    assert "<no value>" not in text
    assert "\n\n\n" not in text


def test_the_release_is_named_with_its_namespace() -> None:
    """Where that is not the default, `helm test` needs it."""
    found = [" ".join(words) for words in commands(notes(f"--namespace={NAMESPACE}"))]
    assert f"kubectl -n {NAMESPACE} rollout status deployment {SERVER}" in found
    assert f"helm test {SERVER} --namespace {NAMESPACE}" in found


def test_it_says_what_these_values_need() -> None:
    """Labels for nodes and namespace, the Secret for own certificates, each only if needed."""
    own = notes(*values("own-certificates"))
    assert f"kubectl -n default create secret tls {SERVER}-tls --cert=tls.crt" in own
    assert "kubectl patch apiservice v1beta1.external" in own
    default, operator = notes(), notes(*values("gpu-operator"))
    assert "kubectl label nodes NODE nvidia.com/gpu=present" in default
    assert "pod-security.kubernetes.io/enforce=privileged" in default
    for text in (default, operator):
        assert "create secret" not in text
    assert "kubectl label" not in operator
    assert "config.fallback.chain={last-known,error}" in default
    assert "config.fallback.chain" not in notes(*values("production"))
    assert "kubectl label nodes NODE nvidia.com/gpu.present=true" in notes(*values("placement"))


def test_an_image_that_is_in_no_registry() -> None:
    """If its name has no registry, the notes say how to set one."""
    upgrade = f"helm upgrade {SERVER} CHART --namespace default --reuse-values"
    assert any(" ".join(words).startswith(upgrade) for words in commands(notes()))
    repository = "--set=image.repository=registry.example.com/gpu-metrics-server"
    assert "helm upgrade" not in notes(repository)


def test_pods_pages_that_cannot_be_reached() -> None:
    """If the configuration reads them, but the NetworkPolicy does not allow it."""
    pages = "set networkPolicy.podPages.enabled=true"
    reading = {"family": "vllm:num_requests_waiting", "maximum": 100}
    for source, expected in (("pods", True), ("exporters", False)):
        rule = {"name": "x", "unit": "requests", "source": source, "readings": [reading]}
        argument = f"--set-json=config.rules=[{json.dumps(rule)}]"
        assert (pages in notes(argument)) is expected
        for off in ("podPages.enabled=true", "enabled=false"):
            assert pages not in notes(argument, f"--set=networkPolicy.{off}")
    assert pages in notes("--set=config.podPages.maxHistoryBytes=134217728")
    assert pages not in notes()
