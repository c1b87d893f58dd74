"""What the server, the exporter and the overlays need from the manifests."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from metrics_server.commands.main import build_parser
from metrics_server.config.file import load_config
from metrics_server.config.sections import Config
from metrics_server.config.values import parse_duration
from metrics_server.http.limits import Limits
from metrics_server.simulator.manifests import EXPORTER_NAMESPACE, EXPORTER_SERVICE
from metrics_server.tls.self_managed import names_of
from tests.deployments.manifests import (
    DEPLOYMENTS,
    NAMESPACE,
    SERVER,
    at,
    build,
    built,
    config_of,
    find,
    items,
    kinds,
    mapping,
    pod_spec,
    read,
    server_container,
    texts,
)
from tests.deployments.rbac import grants
from tests.support.overlays import FOLDERS, spread_by

if TYPE_CHECKING:
    from metrics_server.simulator.kube.objects import Object


@pytest.mark.parametrize("folder", FOLDERS)
def test_somebody_makes_the_certificate(folder: str) -> None:
    """The server either manages and may write its certificate, or has it mounted and may not."""
    objects = build(folder)
    container = server_container(objects)
    managed = "--self-managed-certs" in texts(container, "args")
    roles = {at(o, "metadata", "name") for o in kinds(objects, "Role", "ClusterRole")}
    assert (f"{SERVER}:certificates" in roles) is managed
    assert (f"{SERVER}:custom-metrics-certificates" in roles) is managed
    config_maps = {at(o, "metadata", "name") for o in kinds(objects, "ConfigMap")}
    assert (f"{SERVER}-ca" in config_maps) is managed
    options = build_parser().parse_args(texts(container, "args"))
    mounts = {at(m, "mountPath"): at(m, "name") for m in items(container, "volumeMounts")}
    if managed:
        assert options.cert_dir is None
    else:
        volumes = items(pod_spec(find(objects, "Deployment", SERVER)), "volumes")
        (secret,) = (mapping(v, "secret") for v in volumes if at(v, "secret"))
        assert str(options.cert_dir) in mounts
        assert [at(item, "path") for item in items(secret, "items")] == ["tls.crt", "tls.key"]


def test_the_certificate_is_for_the_name_that_is_verified() -> None:
    """cert-manager's certificate has the same first name as the server's own."""
    certificate = find(build("overlays/cert-manager"), "Certificate", SERVER)
    assert set(texts(certificate, "spec", "dnsNames")) <= set(names_of(SERVER, NAMESPACE))
    assert names_of(SERVER, NAMESPACE)[0] in texts(certificate, "spec", "dnsNames")
    services = kinds(build("overlays/cert-manager"), "APIService")
    assert len(services) == 2
    for obj in services:
        injected = at(obj, "metadata", "annotations", "cert-manager.io/inject-ca-from")
        assert injected == f"{NAMESPACE}/{SERVER}"
    volumes = items(pod_spec(find(build("overlays/cert-manager"), "Deployment", SERVER)), "volumes")
    assert at(certificate, "spec", "secretName") in [at(v, "secret", "secretName") for v in volumes]


def test_names_are_those_that_the_server_looks_for() -> None:
    """The exporter's Service and the Secret are where the server's defaults expect them."""
    service = find(build("."), "Service", EXPORTER_SERVICE)
    where = at(service, "metadata", "namespace"), at(service, "metadata", "name")
    assert where == (EXPORTER_NAMESPACE, EXPORTER_SERVICE)
    assert where in [(s.namespace, s.name) for s in Config().exporters.services]
    certificates = Config().certificates
    assert (certificates.namespace, certificates.service) == (NAMESPACE, SERVER)
    role = find(build("."), "Role", f"{SERVER}:certificates")
    assert texts(role, "rules", 0, "resourceNames") == [certificates.secret]
    assert texts(role, "rules", 1, "resourceNames") == [certificates.config_map]


def test_the_exporter_is_as_the_setup_guide_has_it() -> None:
    """Names, port, node selector, toleration, privileges, mount and settings match the guide."""
    objects = read(DEPLOYMENTS / "dcgm-exporter.yaml")
    assert [o["kind"] for o in objects] == ["Namespace", "DaemonSet", "Service"]
    spec = pod_spec(find(objects, "DaemonSet", "dcgm-exporter"))
    container = mapping(spec, "containers", 0)
    assert spec["nodeSelector"] == {"nvidia.com/gpu": "present"}
    assert at(spec, "tolerations", 0, "key") == "nvidia.com/gpu"
    assert spec["hostNetwork"] is True
    assert at(container, "securityContext", "privileged") is True
    assert at(container, "securityContext", "capabilities", "add") == ["SYS_ADMIN"]
    assert at(container, "ports", 0, "containerPort") == 9400
    settings = {at(e, "name"): at(e, "value") for e in items(container, "env")}
    assert settings["DCGM_EXPORTER_KUBERNETES"] == "true"
    assert settings["DCGM_EXPORTER_INTERVAL"] == "1000"
    assert settings["DCGM_EXPORTER_LISTEN"] == ":9400"
    mount = mapping(container, "volumeMounts", 0)
    assert (mount["mountPath"], mount["readOnly"]) == ("/var/lib/kubelet/pod-resources", True)
    service = find(objects, "Service", "dcgm-exporter")
    assert at(service, "spec", "ports", 0, "port") == 9400
    assert at(service, "metadata", "annotations") == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9400",
    }


def test_the_hardened_exporter_has_no_privilege_but_one() -> None:
    """Not privileged, off the host's network, and SYS_ADMIN as the only capability."""
    spec = pod_spec(find(build("overlays/production"), "DaemonSet", "dcgm-exporter"))
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert at(spec, "containers", 0, "securityContext") == {
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]},
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_overlay_trusts_its_own_exporters_alone(folder: str, tmp_path: Path) -> None:
    """If a trusted namespace did not exist, its creator could forge values."""
    objects = build(folder)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config_of(objects)))
    trusted = {f"{one.namespace}/{one.name}" for one in load_config(file).exporters.services}
    own = {
        "overlays/gpu-operator": "gpu-operator/nvidia-dcgm-exporter",
        "overlays/openshift": "nvidia-gpu-operator/nvidia-dcgm-exporter",
        "overlays/amd": "kube-amd-gpu/default-metrics-exporter",
    }
    assert trusted == {own.get(folder, "gpu-monitoring/dcgm-exporter")}
    ours = [o for o in kinds(objects, "Service") if at(o, "metadata", "name") == "dcgm-exporter"]
    assert bool(ours) is (folder not in own)


def test_nodes_may_be_read_where_that_is_chosen() -> None:
    """A component grants only that; no overlay does without it."""
    folder = DEPLOYMENTS / "components" / "match-nodes-by-address"
    account: Object = {"kind": "ServiceAccount", "name": SERVER, "namespace": NAMESPACE}
    granted = {(one.resource, one.verb) for one in grants(read(folder / "rbac.yaml"), account)}
    assert granted == {("nodes", "list"), ("nodes", "watch")}
    for _, objects in built():
        assert "nodes" not in {one.resource for one in grants(objects, account)}


@pytest.mark.parametrize("overlay", ["gpu-operator", "openshift", "amd"])
def test_an_exporter_of_somebody_else_is_not_run_twice(overlay: str) -> None:
    """Without our exporter nothing of it is left, and the namespace enforces 'restricted'."""
    objects = build(f"overlays/{overlay}")
    assert not [o for o in objects if at(o, "metadata", "name") == "dcgm-exporter"]
    enforced = at(
        find(objects, "Namespace", NAMESPACE),
        "metadata",
        "labels",
        "pod-security.kubernetes.io/enforce",
    )
    assert enforced == "restricted"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_server_may_reach_the_exporters(folder: str) -> None:
    """The policy allows the port of the overlay's exporter."""
    objects = build(folder)
    policy = find(objects, "NetworkPolicy", SERVER)
    ports = {
        at(p, "port") for rule in items(policy, "spec", "egress") for p in items(rule, "ports")
    }
    assert {53, 443, 6443, 9400} <= ports
    assert (5353 in ports) is (folder == "overlays/openshift")
    assert (5000 in ports) is (folder == "overlays/amd")


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_server_survives_the_loss_of_a_node(folder: str) -> None:
    """Two spread replicas, evicted one at a time, with time for their requests."""
    objects = build(folder)
    deployment = find(objects, "Deployment", SERVER)
    spec = pod_spec(deployment)
    assert at(deployment, "spec", "replicas") == 2
    spread = [at(each, "topologyKey") for each in spread_by(objects)]
    assert spread == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    # Of several, the scheduler ignores all on nodes that lack one of their keys.
    assert len(items(spec, "topologySpreadConstraints")) == 1
    assert at(find(objects, "PodDisruptionBudget", SERVER), "spec", "maxUnavailable") == 1
    priority = find(objects, "PriorityClass", str(spec["priorityClassName"]))
    assert at(priority, "value") == 1000000
    (delay,) = (
        parse_duration(a.partition("=")[2])
        for a in texts(server_container(objects), "args")
        if a.startswith("--shutdown-delay-duration=")
    )
    grace = spec["terminationGracePeriodSeconds"]
    assert isinstance(grace, int)
    assert grace > delay + Limits().drain
    resources = mapping(server_container(objects), "resources")
    assert mapping(resources, "requests").keys() == {"cpu", "memory"}
    assert mapping(resources, "limits").keys() == {"memory"}
