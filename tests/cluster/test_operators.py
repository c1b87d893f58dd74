"""The overlays that need an operator, whose kinds are bare and whose work is played here."""

import asyncio
import base64
import json
from pathlib import Path

from metrics_server.simulator.kube.objects import Json, Object
from metrics_server.tls.authority import Authority
from tests.cluster.cluster import API_SERVICES, Cluster
from tests.deployments.manifests import DEPLOYMENTS, at, texts

OVERLAYS = DEPLOYMENTS / "overlays"


async def test_cert_manager(cluster: Cluster, tmp_path: Path) -> None:
    """With the Secret that the Certificate names, and its caBundle, the server serves."""
    for kind in ("Certificate", "Issuer"):
        await apply(cluster, tmp_path, definition("cert-manager.io", kind))
    await cluster.label_nodes()
    await cluster.kubectl("apply", "-k", OVERLAYS / "cert-manager")

    api_service = await read(cluster, "apiservice", API_SERVICES[-1])
    source = str(at(api_service, "metadata", "annotations", "cert-manager.io/inject-ca-from"))
    namespace, _, name = source.partition("/")
    certificate = await read(cluster, f"--namespace={namespace}", "certificate", name)
    authority = Authority("cert-manager")
    pair = await asyncio.to_thread(authority.issue, texts(certificate, "spec", "dnsNames"))
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": at(certificate, "spec", "secretName"), "namespace": namespace},
        "data": {
            "ca.crt": encoded(authority.bundle),
            "tls.crt": encoded(pair.certificate),
            "tls.key": encoded(pair.key),
        },
    }
    await apply(cluster, tmp_path, secret)
    patch = json.dumps({"spec": {"caBundle": encoded(authority.bundle)}})
    for name in API_SERVICES:
        await cluster.kubectl("patch", "apiservice", name, "--type=merge", f"--patch={patch}")

    await cluster.serves()
    await cluster.measures()


async def test_the_prometheus_operator(cluster: Cluster, tmp_path: Path) -> None:
    """Its objects are accepted, beside all that the default has, and are deleted with it."""
    for kind in ("ServiceMonitor", "PrometheusRule"):
        await apply(cluster, tmp_path, definition("monitoring.coreos.com", kind))
    overlay = OVERLAYS / "prometheus-operator"
    await cluster.install(overlay)
    await cluster.measures()
    theirs = ("get", "servicemonitors,prometheusrules", "--all-namespaces", "-o=name")
    assert len((await cluster.kubectl(*theirs)).split()) == 3
    await cluster.kubectl("delete", "apiservice", *API_SERVICES)
    await cluster.kubectl("delete", "-k", overlay, "--ignore-not-found")
    assert await cluster.kubectl(*theirs) == ""


def definition(group: str, kind: str) -> Object:
    """A CustomResourceDefinition of a kind that accepts any content."""
    singular = kind.lower()
    schema: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions: list[Json] = [
        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{singular}s.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "singular": singular,
                "plural": f"{singular}s",
            },
            "versions": versions,
        },
    }


async def apply(cluster: Cluster, folder: Path, obj: Object) -> None:
    """Apply an object; if it is a definition, wait until it is established."""
    file = folder / "object.json"
    await asyncio.to_thread(file.write_text, json.dumps(obj), encoding="utf-8")
    await cluster.kubectl("apply", "-f", file)
    if obj["kind"] == "CustomResourceDefinition":
        await cluster.kubectl("wait", "--for=condition=established", "-f", file)


async def read(cluster: Cluster, *what: str) -> Object:
    """An object of the cluster."""
    found: Object = json.loads(await cluster.kubectl("get", *what, "-o=json"))
    return found


def encoded(data: bytes) -> str:
    """Data as encoded in a Secret and an APIService."""
    return base64.b64encode(data).decode()
