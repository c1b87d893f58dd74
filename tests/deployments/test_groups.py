"""The API groups that manifests register, serve and grant, in any combination."""

import json
import os
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from metrics_server.commands.main import build_parser
from metrics_server.simulator.kube.objects import Object
from tests.deployments.manifests import (
    DEPLOYMENTS,
    NAMESPACE,
    OVERLAYS,
    SERVER,
    at,
    build,
    find,
    items,
    kinds,
    mapping,
    read,
    run,
    server_container,
    texts,
)
from tests.deployments.rbac import grants
from tests.support.carried import kubectl
from tests.support.documents import load_all
from tests.support.once import text_once

ACCOUNT: Object = {"kind": "ServiceAccount", "name": SERVER, "namespace": NAMESPACE}
EXTERNAL, CUSTOM = "external.metrics.k8s.io", "custom.metrics.k8s.io"
VERSIONS = {EXTERNAL: "v1beta1", CUSTOM: "v1beta2"}
# Needed only for custom metrics of objects.
WORKLOADS = {"deployments", "statefulsets", "replicasets", "jobs", "services"}

# It is part of the base.
COMPONENTS = sorted({path.name for path in (DEPLOYMENTS / "components").iterdir()})
COMPONENTS.remove("with-custom-metrics")
# A cluster has one from each of these sets: who runs the exporters, who issues the certificate.
EXCLUSIVE = (
    {"amd", "gpu-operator", "openshift", "without-dcgm-exporter", "hardened-exporter"},
    {"cert-manager", "own-certificates", "certificates-from-secret"},
)
# Without both APIs there is nothing to serve.
NOTHING = ({"without-custom-metrics"}, {"without-external-metrics", "beside-keda"})
# Those that change what is checked here.
CHANGING = EXCLUSIVE[1].union(*NOTHING)


def exclude_each_other(first: str, second: str) -> bool:
    """Whether two components cannot be combined."""
    pair = {first, second}
    return any(pair <= of for of in EXCLUSIVE) or all(pair & of for of in NOTHING)


def sets_of_all_pairs() -> list[tuple[str, ...]]:
    """Few large sets such that each compatible pair of components is in one of them."""
    sets: list[tuple[str, ...]] = []
    left = [pair for pair in combinations(COMPONENTS, 2) if not exclude_each_other(*pair)]
    while left:
        together = list(left[0])
        # First those in most of the remaining pairs.
        needs = Counter(name for pair in left if {*pair} & {*together} for name in pair)
        for name in sorted(COMPONENTS, key=lambda name: -needs[name]):
            if name not in together and not any(exclude_each_other(name, one) for one in together):
                together.append(name)
        left = [pair for pair in left if not {*pair} <= {*together}]
        sets.append(tuple(sorted(together)))
    return sets


# The kinds of the objects that are combined.
KINDS = sorted(
    {
        kind
        for folder in ("base", "components")
        for path in (DEPLOYMENTS / folder).rglob("*.yaml")
        for kind in re.findall(r"^kind: (\w+)$", path.read_text("utf-8"), re.MULTILINE)
    }
)

# Each component alone; pairs of those that change what is checked; and all compatible pairs,
# in sets as large as possible, in one order or the other.
COMBINATIONS = [
    *((one,) for one in COMPONENTS),
    *(pair for pair in combinations(sorted(CHANGING), 2) if not exclude_each_other(*pair)),
    *(names[:: (-1) ** number] for number, names in enumerate(sets_of_all_pairs())),
]


# Starting kubectl and parsing its schemas takes most of a build, so that several sets share one.
_TOGETHER = 6
# The sets that are built by one command.
BATCHES = [
    COMBINATIONS[start : start + _TOGETHER] for start in range(0, len(COMBINATIONS), _TOGETHER)
]


def combined(*components: str) -> Sequence[Object]:
    """The base with some components, as built by a custom kustomization."""
    batch = next((batch for batch in BATCHES if components in batch), [components])
    return _built(*batch)[batch.index(components)]


@cache
def _built(*sets: tuple[str, ...]) -> Sequence[Sequence[Object]]:
    """The base with each of some sets of components.

    One kustomization has a kustomization for each set, whose objects have the set's number
    after their kind: without it, their names would conflict.
    """

    def make() -> str:
        with tempfile.TemporaryDirectory() as folder:
            where = os.path.relpath(DEPLOYMENTS, Path(folder, "0"))
            for number, components in enumerate(sets):
                document = {
                    "resources": [f"{where}/base"],
                    "components": [f"{where}/components/{name}" for name in components],
                    "patches": [_rename(kind, f"{kind}.{number}") for kind in KINDS],
                }
                _write(Path(folder, str(number)), document)
            _write(Path(folder), {"resources": [str(number) for number in range(len(sets))]})
            return run(kubectl(), "kustomize", folder)

    found: list[list[Object]] = [[] for _ in sets]
    for obj in load_all(text_once(shlex.join(("components", *map(",".join, sets))), make)):
        kind, _, number = str(obj["kind"]).partition(".")
        found[int(number)].append({**obj, "kind": kind})
    return found


def _rename(kind: str, new: str) -> Mapping[str, object]:
    operation = {"op": "replace", "path": "/kind", "value": new}
    return {
        "target": {"kind": kind},
        "patch": json.dumps([operation]),
        "options": {"allowKindChange": True},
    }


def _write(folder: Path, document: Mapping[str, object]) -> None:
    kind = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    folder.mkdir(exist_ok=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({**kind, **document}))


def switched_off(objects: Sequence[Object]) -> set[str]:
    """The groups that the server's arguments turn off."""
    options = build_parser().parse_args(texts(server_container(objects), "args"))
    switches = {EXTERNAL: options.external_metrics, CUSTOM: options.custom_metrics}
    assert True not in switches.values()
    return {group for group, switch in switches.items() if switch is False}


def readable(objects: Sequence[Object]) -> set[str]:
    """The groups that the manifests' roles let a namespace's users read."""
    return {
        group
        for role in kinds(objects, "ClusterRole")
        if at(role, "metadata", "labels", "rbac.authorization.k8s.io/aggregate-to-view")
        for rule in items(role, "rules")
        for group in texts(rule, "apiGroups")
    }


def check(objects: Sequence[Object], served: set[str]) -> None:
    """Check that exactly the served groups are registered, turned on, readable and granted."""
    services = kinds(objects, "APIService")
    names = {f"{VERSIONS[group]}.{group}" for group in served}
    assert {at(obj, "metadata", "name") for obj in services} == names
    for obj in services:
        spec = mapping(obj, "spec")
        assert at(obj, "metadata", "name") == f"{spec['version']}.{spec['group']}"
        assert spec["service"] == {"namespace": NAMESPACE, "name": SERVER, "port": 443}
        # Never without verification; and the manifest leaves out what is written later.
        assert not spec.keys() & {"insecureSkipTLSVerify", "caBundle"}
    assert switched_off(objects) == VERSIONS.keys() - served
    assert readable(objects) == served
    granted = list(grants(objects, ACCOUNT))
    managed = "--self-managed-certs" in texts(server_container(objects), "args")
    patched = {name for one in granted if one.resource == "apiservices" for name in one.names}
    assert patched == (names if managed else set())
    workloads = {(one.resource, one.verb) for one in granted if one.resource in WORKLOADS}
    assert workloads == ({(one, "get") for one in WORKLOADS} if CUSTOM in served else set())
    injected = "cert-manager.io/inject-ca-from"
    managers = {at(obj, "metadata", "annotations", injected) for obj in services}
    assert managers == ({f"{NAMESPACE}/{SERVER}"} if kinds(objects, "Certificate") else {None})


def served_with(components: Sequence[str]) -> set[str]:
    """The remaining groups with these components."""
    return {
        group
        for group, without in zip((CUSTOM, EXTERNAL), NOTHING, strict=True)
        if not without & set(components)
    }


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_has_both_groups_unless_it_says_otherwise(overlay: str) -> None:
    """Each serves, registers and permits both; the one for KEDA, only custom metrics."""
    check(build(f"overlays/{overlay}"), served_with([overlay]))


def test_the_default_has_both_groups() -> None:
    """`kubectl apply -k deployments/` registers both."""
    check(build("."), set(VERSIONS))


@pytest.mark.slow
@pytest.mark.parametrize("components", COMBINATIONS, ids=",".join)
def test_components_combine_in_any_order(components: tuple[str, ...]) -> None:
    """In any combination, groups, flags, rights and certificates match."""
    check(combined(*components), served_with(components))


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["without-custom-metrics", "without-external-metrics"])
def test_a_group_is_switched_off_without_a_word_on_the_rest(switch: str) -> None:
    """The configuration from another component is the same as without the switch."""
    objects = combined("production", switch)
    written = at(find(objects, "ConfigMap", SERVER), "data", "config.yaml")
    assert written == at(
        find(build("overlays/production"), "ConfigMap", SERVER), "data", "config.yaml"
    )


def test_the_file_of_the_custom_metrics_api_is_complete() -> None:
    """It has everything for the API, so that it can be applied or deleted alone."""
    objects = read(DEPLOYMENTS / "custom-metrics.yaml")
    granted = list(grants(objects, ACCOUNT))
    assert {one.resource for one in granted} == WORKLOADS | {"apiservices"}
    assert readable(objects) == {CUSTOM}
    without = {at(obj, "metadata", "name") for obj in read(DEPLOYMENTS / "rbac.yaml")}
    assert not without & {at(obj, "metadata", "name") for obj in objects}
