"""The chart's output: valid objects for every example, and the effects of values."""

import json
from pathlib import Path

import pytest
import yaml

from metrics_server.commands.main import build_parser
from metrics_server.config.file import load_config, parse_config
from metrics_server.simulator.kube.objects import Json
from tests.deployments.chart import (
    CHART,
    EXAMPLES,
    WITH_NAMESPACE,
    example,
    is_hook,
    lint,
    ran,
    render,
    values,
)
from tests.deployments.manifests import (
    DEPLOYMENTS,
    ROOT,
    SERVER,
    at,
    config_of,
    find,
    items,
    kinds,
    mapping,
    pod_spec,
    server_container,
    texts,
)
from tests.deployments.test_manifests import CUSTOM, KUBERNETES
from tests.deployments.test_pod_security import violations
from tests.support.schemas import validate

pytestmark = pytest.mark.slow


def test_there_are_examples_enough() -> None:
    """The matrix covers about twenty clusters."""
    assert len(EXAMPLES) >= 20


def test_the_examples_pass_helms_checks() -> None:
    """`helm lint --strict` reports nothing for the chart with their values."""
    lint()


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_valid_for_this_kubernetes(version: str) -> None:
    """With each example, every object matches its kind's schema, without unknown fields."""
    seen = set()
    for name in EXAMPLES:
        for obj in example(name):
            document = json.dumps(obj, sort_keys=True)
            if obj["apiVersion"] not in CUSTOM and document not in seen:
                seen.add(document)
                validate(obj, version)
    assert len(seen) > 2 * len(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_server_accepts_its_flags_and_configuration(name: str, tmp_path: Path) -> None:
    """With each example, the server accepts its flags and its file."""
    objects = example(name)
    build_parser().parse_args(texts(server_container(objects), "args"))
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config_of(objects)), encoding="utf-8")
    load_config(file)


@pytest.mark.parametrize("name", EXAMPLES)
def test_pods_are_restricted_and_pinned_to_their_labels(name: str) -> None:
    """The server and the test meet 'restricted'; nothing selects the test's pod."""
    objects = example(name)
    for obj in (find(objects, "Deployment", SERVER), find(objects, "Pod", f"{SERVER}-test")):
        assert violations(pod_spec(obj)) == set()
    labels = mapping(find(objects, "Pod", f"{SERVER}-test"), "metadata", "labels")
    for service in kinds(objects, "Service"):
        assert not mapping(service, "spec", "selector").items() <= labels.items()


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_delays_an_uninstall(name: str) -> None:
    """No finalizer, no webhook, nothing that Helm is asked to keep, and one hook: the test."""
    for obj in example(name):
        meta = mapping(obj, "metadata")
        assert not meta.get("finalizers")
        assert "Webhook" not in str(obj["kind"])
        assert "helm.sh/resource-policy" not in mapping(meta, "annotations")
        assert is_hook(obj) is (meta["name"] == f"{SERVER}-test")


def test_an_image_by_its_digest() -> None:
    """The digest follows the tag; every pod has the registry's pull secrets."""
    objects = example("private-registry")
    image = str(at(server_container(objects), "image"))
    assert image.startswith("registry.example.com/gpu-metrics-server:")
    assert "@sha256:0123" in image
    pods = [o for o in objects if o["kind"] in ("Deployment", "DaemonSet", "Pod")]
    assert len(pods) == 3
    for obj in pods:
        assert at(pod_spec(obj), "imagePullSecrets") == [{"name": "registry"}]


def test_the_server_reads_the_texts_of_the_values() -> None:
    """They are read as strings, whatever else YAML could make of them."""
    strings = ("=", "<<", "~", "yes", "0x1F", "1:30", "1_000", "2026-01-01")
    where = {f"cluster{number}": text for number, text in enumerate(strings)}
    prometheus = json.dumps({"url": "http://prometheus:9090", "where": where})
    rendered = find(render(f"--set-json=config.prometheus={prometheus}"), "ConfigMap", SERVER)
    text = at(rendered, "data", "config.yaml")
    assert isinstance(text, str)
    assert parse_config(text.encode(), "the chart's").prometheus.where == where


def test_a_new_configuration_replaces_the_pods() -> None:
    """The pods' annotation changes with the configuration, and only with it."""

    def digest(*arguments: str) -> Json:
        pod = mapping(find(render(*arguments), "Deployment", SERVER), "spec", "template")
        return at(pod, "metadata", "annotations", f"{SERVER}/configuration")

    assert digest() == digest("--set=replicas=3", "--set=dashboard.enabled=true")
    assert digest() != digest("--set=config.gauges=false")


def test_a_ca_bundle_of_ones_own() -> None:
    """With `own` certificates, each APIService gets it in base64."""
    pem = "-----BEGIN CERTIFICATE-----\\nMII=\\n-----END CERTIFICATE-----\\n"
    objects = render(*values("own-certificates"), f'--set-json=certificates.caBundle="{pem}"')
    bundles = {at(o, "spec", "caBundle") for o in kinds(objects, "APIService")}
    assert len(kinds(objects, "APIService")) == 2
    (bundle,) = bundles
    assert str(bundle).startswith("LS0tLS1CRUdJTiBDRVJUSUZJQ0FUR")


def test_prometheus_verifies_by_the_secret_that_there_is() -> None:
    """With external certificates, it is their Secret; with self-managed ones, the server's."""
    for names, secret in (
        (["prometheus-operator"], f"{SERVER}-certificates"),
        (["prometheus-operator", "cert-manager"], f"{SERVER}-tls"),
    ):
        monitor = find(render(*values(*names)), "ServiceMonitor", SERVER)
        (endpoint,) = items(monitor, "spec", "endpoints")
        assert at(endpoint, "tlsConfig", "ca", "secret", "name") == secret
    alone = render(*values("gpu-operator-in-production"))
    assert len(kinds(alone, "ServiceMonitor")) == 1


def test_the_chart_has_the_version_of_the_server() -> None:
    """Chart, server and image have the same version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    (version,) = (line.split('"')[1] for line in lines if line.startswith("version = "))
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert str(at(server_container(render()), "image")) == f"{SERVER}:{version}"


def test_a_packaged_chart_is_whole(tmp_path: Path) -> None:
    """Alerts and dashboard are links here, and files in the package."""
    done = ran("package", CHART, f"--destination={tmp_path}")
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    arguments = (*WITH_NAMESPACE, *values("prometheus-operator"))
    packaged = ran("template", SERVER, package, *arguments)
    assert [one for one in yaml.safe_load_all(packaged.stdout) if one] == render(*arguments)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_it_is_for(name: str) -> None:
    """Its first line is a comment, and values.yaml's comments name the folder."""
    assert EXAMPLES[name].read_text(encoding="utf-8").startswith("# ")
    assert str(EXAMPLES[name].parent.relative_to(DEPLOYMENTS.parent)) in (
        CHART / "values.yaml"
    ).read_text(encoding="utf-8")
