"""The metrics server goes down, and comes back: what its cluster sees."""

from tests.cluster.cluster import API_SERVICE, Cluster
from tests.deployments.manifests import NAMESPACE, SERVER

STATUS = "-o=jsonpath={.spec.replicas}"


async def test_replicas_stay_while_it_is_down(cluster: Cluster) -> None:
    """HPAs say that they cannot read and keep their replicas; they read again once it is back."""
    await cluster.install()
    await cluster.measures()
    await cluster.becomes("4", "get", "deployment", "gpu-load", STATUS)
    secret = ("-n", NAMESPACE, "get", "secret", f"{SERVER}-certificates", "-o=jsonpath={.data}")
    certificate = await cluster.kubectl(*secret)

    cluster.nodes.stop_servers()
    cluster.nodes.utilization = 0
    await cluster.becomes("False", "get", "apiservice", API_SERVICE)
    await cluster.becomes("FailedGetExternalMetric", "describe", "hpa", "gpu-load")
    assert await cluster.kubectl("get", "deployment", "gpu-load", STATUS) == "4"

    cluster.nodes.servers_may_run = True
    await cluster.serves()
    await cluster.becomes("ValidMetricFound", "describe", "hpa", "gpu-load")
    assert await cluster.kubectl(*secret) == certificate
