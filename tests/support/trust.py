"""A cluster whose trust is published by a test, and requests to it."""

from collections.abc import Mapping

from metrics_server.simulator.kube.objects import CONFIG_MAPS
from metrics_server.tls.authority import KeyPair
from tests.support.clients import Client
from tests.support.harness import Cluster

METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"


def publish(simulated: Cluster, **changed: str | None) -> None:
    """Publish other trust in the ConfigMap; a key that is None is left out."""
    held = simulated.api.store.get(CONFIG_MAPS, "kube-system", "extension-apiserver-authentication")
    assert held is not None
    data = held["data"]
    assert isinstance(data, dict)
    both = {**data, **{key.replace("_", "-"): value for key, value in changed.items()}}
    simulated.api.apply(
        CONFIG_MAPS, {**held, "data": {k: v for k, v in both.items() if v is not None}}
    )


async def status(
    simulated: Cluster, shown: KeyPair | None, headers: Mapping[str, str], path: str = METRIC
) -> int:
    """The status code of the answer on a new connection."""
    assert simulated.server.bundle is not None
    async with Client(simulated.server.url, simulated.server.bundle, shown) as client:
        return (await client.ask(path, headers)).status
