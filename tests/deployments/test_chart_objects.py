"""The chart and the overlays create the same objects."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from msgspec import Struct

from metrics_server.config.file import load_config
from metrics_server.simulator.kube.objects import Json, Object
from tests.deployments.chart import WITH_NAMESPACE, example, is_hook, render, values
from tests.deployments.manifests import (
    NAMESPACE,
    OVERLAYS,
    SERVER,
    at,
    build,
    config_of,
    mapping,
)
from tests.deployments.test_groups import COMPONENTS, combined

pytestmark = pytest.mark.slow


class Same(Struct, frozen=True):
    """Components of kustomize, and the values that should match them.

    Attributes:
        components: on the base.
        arguments: Helm's.
        config: the expected ConfigMap, if no component writes it and one is needed.
    """

    components: tuple[str, ...]
    arguments: tuple[str, ...]
    config: Mapping[str, object] | None = None


SAME = {
    "default": Same((), ()),
    **{
        name: Same((name,), tuple(values(name)))
        for name in (
            *("amd", "beside-keda", "cert-manager", "gpu-operator", "openshift"),
            *("own-certificates", "pods-metrics", "preempting", "prometheus-operator"),
            "without-custom-metrics",
        )
    },
    "endpoint-picker": Same(("endpoint-picker",), ("--set=endpointPicker.token=true",)),
    "hardened-exporter": Same(("hardened-exporter",), ("--set=dcgmExporter.hardened=true",)),
    "production": Same(("production",), ("--set=config.fallback.chain={last-known,error}",)),
    "match-nodes-by-address": Same(
        ("match-nodes-by-address",),
        tuple(values("match-nodes-by-address")),
        {"exporters": {"matchNodesByAddress": True}},
    ),
    "prometheus": Same(
        ("prometheus",),
        tuple(values("prometheus")),
        {
            "prometheus": {
                "url": "http://prometheus-operated.monitoring:9090",
                "use": "second",
            }
        },
    ),
    "certificates-from-secret": Same(
        ("certificates-from-secret",), tuple(values("own-certificates"))
    ),
    "without-external-metrics": Same(("without-external-metrics",), tuple(values("beside-keda"))),
    "without-dcgm-exporter": Same(
        ("without-dcgm-exporter",),
        (
            "--set=exporters.preset=none",
            f'--set-json=config.exporters.services=[{{"namespace":"{NAMESPACE}","name":"dcgm-exporter"}}]',
        ),
    ),
    # Several combined.
    "everything": Same(
        ("hardened-exporter", "production", "preempting", "pods-metrics", "prometheus-operator"),
        tuple(values("production", "preempting", "pods-metrics", "prometheus-operator")),
    ),
    "amd-beside-keda": Same(
        ("amd", "beside-keda", "own-certificates", "endpoint-picker"),
        (*values("amd", "beside-keda", "own-certificates"), "--set=endpointPicker.token=true"),
    ),
}
# Components for which the chart has no values yet.
NOT_IN_THE_CHART: frozenset[str] = frozenset()


def test_every_component_has_its_values() -> None:
    """A component added to kustomize is added to the chart, too."""
    compared = {name for same in SAME.values() for name in same.components}
    assert compared | NOT_IN_THE_CHART == set(COMPONENTS), "add it to the chart, and to SAME here"


@pytest.mark.parametrize("name", SAME)
def test_the_objects_are_those_of_kustomize(name: str, tmp_path: Path) -> None:
    """The chart creates exactly the base's objects with these components."""
    same = SAME[name]
    ours = by_name(render(*WITH_NAMESPACE, *same.arguments), tmp_path)
    theirs = by_name(combined(*same.components), tmp_path, same.config)
    assert ours.keys() == theirs.keys()
    for key, obj in theirs.items():
        assert ours[key] == obj, key


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_example_makes_the_objects_of_an_overlay(overlay: str, tmp_path: Path) -> None:
    """Each overlay has an example of the same name with the same objects."""
    ours = by_name(example(overlay), tmp_path)
    assert ours == by_name(build(f"overlays/{overlay}"), tmp_path)


def test_the_one_command_makes_the_objects_of_the_default(tmp_path: Path) -> None:
    """Except the namespace, which `helm install --create-namespace` creates."""
    ours = by_name(render(f"--namespace={NAMESPACE}"), tmp_path)
    theirs = by_name(build("."), tmp_path)
    assert theirs.pop(("Namespace", None, NAMESPACE))
    assert ours == theirs


def test_a_difference_is_found(tmp_path: Path) -> None:
    """The comparison can fail: for a field, the configuration, or an extra object."""
    theirs = by_name(build("."), tmp_path)
    for argument in (
        "--set=resources.limits.memory=1Gi",
        "--set=config.hpaWarnings=false",
        "--set=dashboard.enabled=true",
    ):
        assert by_name(render(*WITH_NAMESPACE, argument), tmp_path) != theirs


def test_another_namespace(tmp_path: Path) -> None:
    """The release's namespace replaces ours everywhere, including the configuration."""
    with_much = values("few-namespaces", "preempting", "prometheus-operator")
    elsewhere = render("--namespace=elsewhere", *with_much)
    assert NAMESPACE not in json.dumps(elsewhere)
    config = load(elsewhere, tmp_path)
    assert at(config, "certificates", "namespace") == "elsewhere"
    assert at(config, "exporters", "services", 0, "namespace") == "elsewhere"
    named = render("--namespace=default", "--set=namespace.name=elsewhere", *with_much)
    # None of them contains the name of the release's namespace.
    assert [o for o in named if not is_hook(o)] == [o for o in elsewhere if not is_hook(o)]


Named = tuple[Json, Json, Json]


def by_name(
    objects: Sequence[Object], folder: Path, config: Mapping[str, object] | None = None
) -> dict[Named, Object]:
    """The installed objects in a normal form, by kind, namespace and name."""
    found = {}
    for obj in objects:
        if not is_hook(obj):
            meta = mapping(obj, "metadata")
            key = obj["kind"], meta.get("namespace"), meta["name"]
            assert key not in found
            found[key] = _plain(obj, objects, folder, config)
    return found


def load(
    objects: Sequence[Object], folder: Path, config: Mapping[str, object] | None = None
) -> Object:
    """All of the server's settings with the ConfigMap in these objects."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config or config_of(objects)), encoding="utf-8")
    loaded: Object = json.loads(load_config(file).model_dump_json(by_alias=True))
    return loaded


def _plain(
    obj: Object, objects: Sequence[Object], folder: Path, config: Mapping[str, object] | None
) -> Object:
    plain: Object = json.loads(json.dumps(obj))
    name = at(plain, "metadata", "name")
    if (plain["kind"], name) == ("ConfigMap", SERVER):
        # Its text has comments and its own order, and either side may omit defaults.
        plain["data"] = load(objects, folder, config)
    elif (plain["kind"], name) == ("ConfigMap", f"{SERVER}-dashboard"):
        plain["data"] = {key: json.loads(str(text)) for key, text in mapping(plain, "data").items()}
    elif (plain["kind"], name) == ("Deployment", SERVER):
        # Replaces the pods when the configuration changes; the chart uses a digest.
        template = mapping(plain, "spec", "template", "metadata")
        mapping(template, "annotations").pop(f"{SERVER}/configuration", None)
        if not template.get("annotations"):
            template.pop("annotations", None)
    return plain
