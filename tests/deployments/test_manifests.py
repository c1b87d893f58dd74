import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml
from kubernetes_validate.utils import all_versions  # type: ignore[import-untyped]

from metrics_server.commands.main import build_parser
from metrics_server.config.file import load_config
from metrics_server.config.options import ServeOptions
from metrics_server.config.sections import Config
from metrics_server.config.values import parse_duration
from metrics_server.http.limits import Limits
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.simulator.kube.objects import Json, Object
from metrics_server.simulator.manifests import EXPORTER_NAMESPACE, EXPORTER_SERVICE
from metrics_server.tls.self_managed import names_of
from tests.deployments.manifests import (
    DEPLOYMENTS,
    EXAMPLES,
    FILES,
    NAMESPACE,
    OVERLAYS,
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

# The newest release, and two before it.
KUBERNETES = all_versions()[-6::2]
# Kinds that a cluster gets from somebody else.
CUSTOM = ("cert-manager.io/v1", "monitoring.coreos.com/v1")
FOLDERS = [".", *(f"overlays/{overlay}" for overlay in OVERLAYS)]


def manifests() -> Iterator[Object]:
    """Every object of every overlay and example, each once."""
    seen = set()
    sources = [*(objects for _, objects in built()), *(read(DEPLOYMENTS / e) for e in EXAMPLES)]
    for objects in sources:
        for obj in objects:
            text = _text(obj)
            if text not in seen:
                seen.add(text)
                yield obj


@pytest.mark.slow
@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_valid_for_this_kubernetes(version: str) -> None:
    """Each object has the schema of its kind, with no field that the kind does not have."""
    checked = 0
    for obj in manifests():
        if obj["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(obj, version, strict=True)
            checked += 1
    assert checked > len(build("."))


def test_a_field_that_no_kind_has_is_found() -> None:
    """The check above can fail: a misspelt field is refused."""
    deployment = json.loads(json.dumps(find(build("."), "Deployment", SERVER)))
    deployment["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[-1], strict=True)


def test_every_file_is_in_the_default_as_it_is() -> None:
    """`kubectl apply -k deployments/` and the files one by one make the same objects."""
    files = [obj for name in FILES for obj in read(DEPLOYMENTS / f"{name}.yaml")]
    assert sorted(map(_text, files)) == sorted(map(_text, build(".")))


def _text(obj: Object) -> str:
    return json.dumps(obj, sort_keys=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_is_in_a_namespace_that_it_makes_or_in_none(folder: str) -> None:
    """What is applied is all that is to be deleted: nothing is put elsewhere, but one binding."""
    made = {at(o, "metadata", "name") for o in kinds(build(folder), "Namespace")}
    assert made == {NAMESPACE}
    elsewhere = [
        (o["kind"], at(o, "metadata", "name"))
        for o in build(folder)
        if at(o, "metadata", "namespace") not in (None, *made)
    ]
    # It lies beside the one ConfigMap that it lets be read; `kubectl delete -k` deletes it.
    assert elsewhere == [("RoleBinding", "gpu-metrics-server:auth-reader")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_delays_a_deletion(folder: str) -> None:
    """No finalizer and no webhook: what is deleted is gone, with the server up or down."""
    for obj in build(folder):
        assert not at(obj, "metadata", "finalizers")
        assert "Webhook" not in str(obj["kind"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_command_accepts_its_flags(folder: str) -> None:
    """The container's arguments are those of a command that there is."""
    options = build_parser().parse_args(texts(server_container(build(folder)), "args"))
    assert options.bind_address == "0.0.0.0"  # noqa: S104 - of a pod
    assert options.log_format == "json"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_server_accepts_its_configuration(folder: str, tmp_path: Path) -> None:
    """The ConfigMap's file is one that the server loads."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config_of(build(folder))))
    assert load_config(file) != Config() or folder not in ("overlays/production", "overlays/amd")


def test_production_never_makes_a_number_up() -> None:
    """The production overlay's fallback is the last value and then an error."""
    assert at(config_of(build("overlays/production")), "fallback", "chain") == [
        "last-known",
        "error",
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_ports_and_probes_lead_to_the_server(folder: str) -> None:
    """The Service, the probes and the policy all mean the port that is listened on."""
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
    """Each Service, budget, policy and constraint selects the pods that it is for."""
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


def spread_by(objects: Sequence[Object]) -> list[Json]:
    """What keeps the server's replicas apart: nodes first, then zones."""
    spec = pod_spec(find(objects, "Deployment", SERVER))
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    terms = items(mapping(spec, "affinity", "podAntiAffinity"), preferred)
    constraints = items(spec, "topologySpreadConstraints")
    return [*constraints, *(mapping(term, "podAffinityTerm") for term in terms)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_somebody_makes_the_certificate(folder: str) -> None:
    """Either the server manages its certificate and may write it, or it is mounted and may not."""
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
    """cert-manager's certificate has the first name that a certificate of the server's own has."""
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
    """The exporter's Service and the Secret are where the server's defaults look for them."""
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
    """Names, port, node selector, toleration, privileges, mount and settings are the guide's."""
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
    """Not privileged, off the host's network, and of all capabilities SYS_ADMIN alone."""
    spec = pod_spec(find(build("overlays/production"), "DaemonSet", "dcgm-exporter"))
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert at(spec, "containers", 0, "securityContext") == {
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]},
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_overlay_trusts_its_own_exporters_alone(folder: str, tmp_path: Path) -> None:
    """Whoever may create a namespace that is trusted, and nobody's, could forge numbers."""
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
    """A component has the right, and nothing else; without it no overlay does."""
    folder = DEPLOYMENTS / "components" / "match-nodes-by-address"
    account: Object = {"kind": "ServiceAccount", "name": SERVER, "namespace": NAMESPACE}
    granted = {(one.resource, one.verb) for one in grants(read(folder / "rbac.yaml"), account)}
    assert granted == {("nodes", "list"), ("nodes", "watch")}
    for _, objects in built():
        assert "nodes" not in {one.resource for one in grants(objects, account)}


@pytest.mark.parametrize("overlay", ["gpu-operator", "openshift", "amd"])
def test_an_exporter_of_somebody_else_is_not_run_twice(overlay: str) -> None:
    """Without our exporter nothing of it is left, and the namespace holds to 'restricted'."""
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
    """The policy lets the server reach the port of whatever exporter the overlay is for."""
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
    """Two replicas, spread, of which one at a time may be taken, with time for its requests."""
    objects = build(folder)
    deployment = find(objects, "Deployment", SERVER)
    spec = pod_spec(deployment)
    assert at(deployment, "spec", "replicas") == 2
    spread = [at(each, "topologyKey") for each in spread_by(objects)]
    assert spread == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    # Of several the scheduler passes over all, for nodes that lack one of their keys.
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


VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(spec: Object) -> set[str]:
    """What of a pod the Pod Security Standard "restricted" forbids.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    found = {key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)}
    for volume in items(spec, "volumes"):
        found |= {f"volume {kind}" for kind in mapping(volume) if kind not in {"name", *VOLUMES}}
    for container in [*items(spec, "initContainers"), *items(spec, "containers")]:
        own = mapping(container, "securityContext")
        both: Object = {**mapping(spec, "securityContext"), **own}
        seccomp = at(both, "seccompProfile", "type")
        checks = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities.drop": "ALL" in texts(own, "capabilities", "drop"),
            "capabilities.add": set(texts(own, "capabilities", "add")) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": seccomp in ("RuntimeDefault", "Localhost"),
            "hostPort": not any(at(port, "hostPort") for port in items(container, "ports")),
        }
        found |= {name for name, holds in checks.items() if not holds}
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_server_is_restricted(folder: str) -> None:
    """The server's pods hold to 'restricted', by number no root, on a root that is read-only."""
    spec = pod_spec(find(build(folder), "Deployment", SERVER))
    assert violations(spec) == set()
    # OpenShift gives each namespace its users, and refuses all others.
    number = None if folder == "overlays/openshift" else 65532
    assert at(spec, "securityContext", "runAsUser") == number
    assert at(spec, "securityContext", "runAsNonRoot") is True
    assert at(spec, "containers", 0, "securityContext", "readOnlyRootFilesystem") is True


def test_what_is_not_restricted_is_found() -> None:
    """The check above can fail: the guide's exporter breaks the standard in each of its ways."""
    spec = pod_spec(find(build("."), "DaemonSet", "dcgm-exporter"))
    assert violations(spec) == {
        "hostNetwork",
        "volume hostPath",
        "privileged",
        "allowPrivilegeEscalation",
        "capabilities.drop",
        "capabilities.add",
        "runAsNonRoot",
        "runAsUser",
        "seccompProfile",
    }


def test_test_pods_are_restricted() -> None:
    """A cluster that enforces 'restricted' takes the pods that one tests with, too."""
    for obj in read(DEPLOYMENTS / "gpu-load-test.yaml"):
        assert violations(pod_spec(obj)) == set()
        limits = mapping(pod_spec(obj), "containers", 0, "resources", "limits")
        assert any(resource in Config().pods.gpu_resources for resource in limits)


def test_the_example_autoscalers_ask_for_what_is_served() -> None:
    """Each asks for a metric that there is, of pods that there are: the first as Pods metric."""
    metrics = {rule.name: rule for rule in CATALOGUE}
    workloads = {
        at(o, "metadata", "name"): o
        for o in kinds(read(DEPLOYMENTS / "gpu-load-test.yaml"), "Deployment")
    }
    shown = []
    for hpa in read(DEPLOYMENTS / "hpa-example.yaml"):
        assert at(hpa, "spec", "scaleTargetRef", "kind") == "Deployment"
        target = workloads[at(hpa, "spec", "scaleTargetRef", "name")]
        (metric,) = items(hpa, "spec", "metrics")
        kind = str(at(metric, "type"))
        source = mapping(metric, kind.lower())
        rule = metrics[str(at(source, "metric", "name"))]
        if kind == "External":
            selector = mapping(source, "metric", "selector", "matchLabels")
            labels = mapping(target, "spec", "template", "metadata", "labels")
            assert selector
            assert selector.items() <= labels.items()
        shown.append((kind, at(source, "target", "type"), rule.over_pods))
    assert shown == [("Pods", "AverageValue", "avg"), ("External", "AverageValue", "sum")]


README = (DEPLOYMENTS / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_every_file_and_overlay() -> None:
    """Each file and each overlay has its row, and each row its file."""
    rows = set(re.findall(r"^\| `([\w*./-]+)` \|", README, re.MULTILINE))
    files = {p.name for p in DEPLOYMENTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert rows == {*files, *OVERLAYS, "runbook.md", "image/*.lock"}


def test_what_the_readme_puts_together_is_built(tmp_path: Path) -> None:
    """The kustomization of one's own that the README shows is accepted, and does what it says."""
    (text,) = (b for b in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "components" in b)
    copy = tmp_path / "deployments"
    shutil.copytree(DEPLOYMENTS, copy, symlinks=True)
    (copy / "overlays" / "own").mkdir()
    (copy / "overlays" / "own" / "kustomization.yaml").write_text(text)
    objects = build(str(copy / "overlays" / "own"))
    assert at(config_of(objects), "fallback", "chain") == ["last-known", "error"]
    assert at(config_of(objects), "exporters", "services", 0, "namespace") == "gpu-operator"
    assert {"Certificate", "ServiceMonitor"} <= {o["kind"] for o in objects}
    assert "DaemonSet" not in {o["kind"] for o in objects}
    images = re.findall(r"- name: (\S+)\n", README)
    assert images == [SERVER]
