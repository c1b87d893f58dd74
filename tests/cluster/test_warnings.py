"""The server's Warning events, as kubectl shows them."""

import json
from pathlib import Path

from metrics_server.tls.authority import Authority
from tests.cluster.cluster import API_SERVICE, Cluster
from tests.cluster.test_operators import encoded
from tests.cluster.test_stability import apply, deploy

EVENTS = ("-n", "default", "events", "--for", f"apiservice/{API_SERVICE}")


async def test_who_overwrites_the_ca_bundle_is_named(cluster: Cluster) -> None:
    """KEDA's operator overwrites the CA: an event says so, and the server's is restored."""
    await cluster.install()
    theirs = encoded(Authority("KEDA").bundle)
    patch = json.dumps({"spec": {"caBundle": theirs}})
    keda = ("--type=merge", "--field-manager=keda-operator", f"--patch={patch}")
    await cluster.kubectl("patch", "apiservice", API_SERVICE, *keda)
    told = await cluster.becomes("CABundleOverwritten", *EVENTS)
    assert "keda-operator overwrites the caBundle" in told
    await cluster.logged("CA bundle overwritten")
    await cluster.serves()
    bundle = ("get", "apiservice", API_SERVICE, "-o=jsonpath={.spec.caBundle}")
    assert await cluster.kubectl(*bundle) not in ("", theirs)


async def test_an_hpa_that_shrinks_its_workload_is_warned_about(
    cluster: Cluster, tmp_path: Path
) -> None:
    """A mean under AverageValue: `kubectl describe hpa` shows the warning, with what to write."""
    await cluster.install()
    await deploy(cluster, tmp_path, 2)
    metric = {"name": "gpu_utilization", "selector": {"matchLabels": {"app": "llm"}}}
    target = {"type": "AverageValue", "averageValue": "70"}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
        "maxReplicas": 4,
        "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
    }
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "llm"},
        "spec": spec,
    }
    await apply(cluster, tmp_path, autoscaler)
    described = await cluster.becomes("MeanUnderAverageValue", "describe", "hpa", "llm")
    assert "gpu-metrics-server" in described
    assert "type: Pods" in described
