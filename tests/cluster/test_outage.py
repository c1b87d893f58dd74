"""The metrics server goes down and comes back, or kube-apiserver does."""

from tests.cluster.cluster import API_SERVICE, CUSTOM_API_SERVICE, METRIC, Cluster
from tests.deployments.manifests import NAMESPACE, SERVER

STATUS = "-o=jsonpath={.spec.replicas}"


async def test_replicas_stay_while_it_is_down(cluster: Cluster) -> None:
    """HPAs report that they cannot read, keep their replicas, and read again once it is back."""
    await cluster.install()
    await cluster.measures()
    await cluster.becomes("4", "get", "deployment", "gpu-load", STATUS)
    secret = ("-n", NAMESPACE, "get", "secret", f"{SERVER}-certificates", "-o=jsonpath={.data}")
    certificate = await cluster.kubectl(*secret)

    cluster.nodes.stop_servers()
    cluster.nodes.utilization = 0
    await cluster.becomes("False", "get", "apiservice", API_SERVICE)
    await cluster.becomes("False", "get", "apiservice", CUSTOM_API_SERVICE)
    await cluster.becomes("FailedGetPodsMetric", "describe", "hpa", "gpu-load")
    await cluster.becomes("FailedGetExternalMetric", "describe", "hpa", "gpu-load-by-sum")
    assert await cluster.kubectl("get", "deployment", "gpu-load", STATUS) == "4"

    cluster.nodes.servers_may_run = True
    await cluster.serves()
    await cluster.becomes("ValidMetricFound", "describe", "hpa", "gpu-load")
    assert await cluster.kubectl(*secret) == certificate


async def test_kube_apiserver_comes_back_with_another_front_proxy(cluster: Cluster) -> None:
    """The server keeps running: it trusts the new authority, and knows the current pods."""
    cluster.nodes.utilization = 50  # nothing is scaled yet
    await cluster.install()
    await cluster.measures()
    before = dict(cluster.nodes.servers)

    await cluster.plane.api_server.stop()
    cluster.plane.api_server.replace_front_proxy()
    await cluster.plane.api_server.start()
    await cluster.becomes("True", "get", "apiservice", API_SERVICE)
    cluster.nodes.utilization = 100
    await cluster.becomes('"pods":"4/4"', "get", "--raw", METRIC)

    assert cluster.nodes.servers == before
    assert all(server.runs() for server in before.values())
