"""Names that YAML parses as something else: all digits, or true, null and the like."""

import pytest

from metrics_server.simulator.kube.objects import Json
from tests.deployments.chart import CHART, refused, render, values
from tests.deployments.manifests import SERVER, at, config_of, find, mapping, server_container
from tests.deployments.test_manifests import CUSTOM, KUBERNETES
from tests.support.schemas import validate

pytestmark = pytest.mark.slow

# Each is a valid namespace name.
TRAPS = ("123", "0x1f", "null")
# Values that accept any text.
TEXTS = (
    "image.tag",
    "commonLabels.some",
    "priorityClass.name",
    "certificates.secretName",
    "certificates.certManager.issuerRef.name",
    "exporters.namespace",
    "imagePullSecrets[0].name",
    "nodeSelector.some",
    "podAnnotations.some",
    "podLabels.some",
    "serviceAccount.annotations.some",
    "extraEnv[0].name",
    "extraEnv[0].value",
    "prometheus.serviceAccount",
    "prometheus.namespace",
    "serviceMonitor.labels.some",
    "prometheusRule.labels.some",
    "dashboard.labels.some",
    "dashboard.annotations.some",
    "config.pods.namespaces[0]",
)
EXPORTER_TEXTS = (
    "dcgmExporter.image.tag",
    "dcgmExporter.runtimeClassName",
    "dcgmExporter.priorityClassName",
    "dcgmExporter.nodeSelector.some",
    "dcgmExporter.podLabels.some",
    "dcgmExporter.podAnnotations.some",
)


def set_to(text: str, *names: str) -> list[str]:
    """Helm's arguments that set values to a text."""
    return [f"--set-string={name}={text}" for name in names]


@pytest.mark.parametrize("trap", TRAPS)
def test_a_name_stays_a_name(trap: str) -> None:
    """If all values are such a text, each object is valid: the text is a string everywhere."""
    everything = (f"--namespace={trap}", "--set=dashboard.enabled=true", *set_to(trap, *TEXTS))
    operator = values("gpu-operator", "cert-manager", "prometheus-operator")
    for arguments in (
        (*operator, *everything),
        (f"--namespace={trap}", *set_to(trap, *EXPORTER_TEXTS)),
        ("--set=namespace.create=true", *set_to(trap, "namespace.name")),
    ):
        objects = render(*arguments)
        for obj in objects:
            assert mapping(obj, "metadata").get("namespace", "") in (trap, "kube-system", "")
            for text in strings_of(obj):
                assert isinstance(text, str), (obj["kind"], text)
            if obj["apiVersion"] not in CUSTOM:
                validate(obj, KUBERNETES[-1])
    objects = render(*operator, *everything)
    assert str(at(server_container(objects), "image")) == f"{SERVER}:{trap}"
    assert at(find(objects, "Certificate", SERVER), "spec", "secretName") == trap
    assert at(config_of(objects), "exporters", "services", 0, "namespace") == trap
    assert at(config_of(objects), "pods", "namespaces") == [trap]


def strings_of(value: Json) -> list[Json]:
    """Every name, namespace, label and annotation in an object."""
    match value:
        case dict():
            found = [
                value[key]
                for key in ("name", "namespace", "secretName", "priorityClassName", "image")
                if key in value
            ]
            for key in ("labels", "annotations", "matchLabels", "nodeSelector"):
                found += mapping(value, key).values()
            return found + [one for inner in value.values() for one in strings_of(inner)]
        case list():
            return [one for inner in value for one in strings_of(inner)]
        case _:
            return []


@pytest.mark.parametrize("flag", ["--set={}=123", "--set-json={}=1.10"])
def test_a_number_is_refused_for_a_name(flag: str) -> None:
    """1.10 would become the tag 1.1: Helm says where, and values.yaml says what to use."""
    names = ("namespace.name", "image.tag", "prometheus.namespace")
    error = refused(*(flag.format(name) for name in names))
    for name in names:
        assert f"at '/{name.replace('.', '/')}': got number, want string" in error
    assert "--set-string" in (CHART / "values.yaml").read_text(encoding="utf-8")
