"""Every object in the manifests is valid, and fits the server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes_validate.utils import all_versions  # type: ignore[import-untyped]

from metrics_server.commands.main import build_parser
from metrics_server.config.file import load_config
from metrics_server.config.sections import Config
from metrics_server.simulator.kube.objects import Object
from metrics_server.wiring.options import ServeOptions
from tests.deployments.manifests import (
    DEPLOYMENTS,
    EXAMPLES,
    FILES,
    NAMESPACE,
    SCALE_TO_ZERO,
    SERVER,
    at,
    build,
    built,
    config_of,
    find,
    items,
    kinds,
    mapping,
    read,
    server_container,
    texts,
)
from tests.support.overlays import FOLDERS, spread_by
from tests.support.schemas import ValidationError, validate

# The newest release, and two before it.
KUBERNETES = all_versions()[-6::2]
# Kinds that come from elsewhere.
CUSTOM = ("cert-manager.io/v1", "monitoring.coreos.com/v1")


def manifests() -> Iterator[Object]:
    """Every object in every overlay and example, once."""
    seen = set()
    examples = [read(DEPLOYMENTS / name) for name in (*EXAMPLES, SCALE_TO_ZERO)]
    sources = [*(objects for _, objects in built()), *examples]
    for objects in sources:
        for obj in objects:
            text = _text(obj)
            if text not in seen:
                seen.add(text)
                yield obj


@pytest.mark.slow
@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_valid_for_this_kubernetes(version: str) -> None:
    """Each object matches its kind's schema, and has no unknown field."""
    checked = 0
    for obj in manifests():
        if obj["apiVersion"] not in CUSTOM:
            validate(obj, version)
            checked += 1
    assert checked > len(build("."))


def test_a_field_that_no_kind_has_is_found() -> None:
    """The check above can fail: a misspelled field is rejected."""
    deployment = json.loads(json.dumps(find(build("."), "Deployment", SERVER)))
    deployment["spec"]["replica"] = 2
    with pytest.raises(ValidationError):
        validate(deployment, KUBERNETES[-1])


def test_every_file_is_in_the_default_as_it_is() -> None:
    """`kubectl apply -k deployments/` and the single files create the same objects."""
    files = [obj for name in FILES for obj in read(DEPLOYMENTS / f"{name}.yaml")]
    assert sorted(map(_text, files)) == sorted(map(_text, build(".")))


def _text(obj: Object) -> str:
    return json.dumps(obj, sort_keys=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_is_in_a_namespace_that_it_makes_or_in_none(folder: str) -> None:
    """Namespaced objects are in the one namespace that it creates, except one binding."""
    made = {at(o, "metadata", "name") for o in kinds(build(folder), "Namespace")}
    assert made == {NAMESPACE}
    elsewhere = [
        (o["kind"], at(o, "metadata", "name"))
        for o in build(folder)
        if at(o, "metadata", "namespace") not in (None, *made)
    ]
    # It is beside the only ConfigMap that it permits; `kubectl delete -k` deletes it.
    assert elsewhere == [("RoleBinding", "gpu-metrics-server:auth-reader")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_delays_a_deletion(folder: str) -> None:
    """No finalizer or webhook delays deletion, whether the server is up or down."""
    for obj in build(folder):
        assert not at(obj, "metadata", "finalizers")
        assert "Webhook" not in str(obj["kind"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_command_accepts_its_flags(folder: str) -> None:
    """The container's arguments are valid for the command."""
    options = build_parser().parse_args(texts(server_container(build(folder)), "args"))
    assert options.bind_address == "0.0.0.0"  # noqa: S104 - of a pod
    assert options.log_format == "json"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_server_accepts_its_configuration(folder: str, tmp_path: Path) -> None:
    """The server loads the ConfigMap's file."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config_of(build(folder))))
    assert load_config(file) != Config() or folder not in ("overlays/production", "overlays/amd")


def test_production_never_makes_a_number_up() -> None:
    """The production overlay falls back to the last value, then to an error."""
    assert at(config_of(build("overlays/production")), "fallback", "chain") == [
        "last-known",
        "error",
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_ports_and_probes_lead_to_the_server(folder: str) -> None:
    """The Service, the probes and the policy all use the server's port."""
    objects = build(folder)
    container = server_container(objects)
    options = build_parser().parse_args(texts(container, "args"))
    port = mapping(container, "ports", 0)
    assert (port["name"], port["containerPort"]) == ("https", options.secure_port)
    assert options.secure_port == ServeOptions().secure_port
    (served,) = items(find(objects, "Service", SERVER), "spec", "ports")
    assert (at(served, "port"), at(served, "targetPort")) == (443, "https")
    for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
        asked = mapping(container, f"{probe}Probe", "httpGet")
        assert asked == {"path": path, "port": "https", "scheme": "HTTPS"}
    policy = find(objects, "NetworkPolicy", SERVER)
    assert at(policy, "spec", "ingress", 0, "ports", 0, "port") == options.secure_port


@pytest.mark.parametrize("folder", FOLDERS)
def test_selectors_select(folder: str) -> None:
    """Each Service, budget, policy and constraint selects its pods."""
    objects = build(folder)
    pods = [
        mapping(o, "spec", "template", "metadata", "labels")
        for o in kinds(objects, "Deployment", "DaemonSet")
    ]
    selectors = [
        *(mapping(o, "spec", "selector") for o in kinds(objects, "Service")),
        *(mapping(o, "spec", "selector", "matchLabels") for o in kinds(objects, "Deployment")),
        *(mapping(o, "spec", "selector", "matchLabels") for o in kinds(objects, "DaemonSet")),
        *(
            mapping(o, "spec", "selector", "matchLabels")
            for o in kinds(objects, "PodDisruptionBudget")
        ),
        *(
            mapping(o, "spec", "podSelector", "matchLabels")
            for o in kinds(objects, "NetworkPolicy")
        ),
        *(mapping(each, "labelSelector", "matchLabels") for each in spread_by(objects)),
    ]
    for selector in selectors:
        assert selector
        assert sum(selector.items() <= labels.items() for labels in pods) == 1
