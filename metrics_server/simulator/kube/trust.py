"""The trust of the simulated cluster: its CAs, the ConfigMap that publishes them, and reviews."""

import json
from collections.abc import Mapping

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import CONFIG_MAPS, Object
from metrics_server.simulator.kube.reviews import Access, Caller, Reviews
from metrics_server.tls.authority import Authority, KeyPair

FRONT_PROXY = "front-proxy-client"
_METRICS = ("external.metrics.k8s.io", "custom.metrics.k8s.io")


class SimulatedTrust:
    """What kube-apiserver publishes for aggregated API servers, and its reviews for them.

    Args:
        api: the Kubernetes API to publish it.
        tokens: the user of each bearer token.

    Attributes:
        front_proxies: the CA of front proxies.
        clients: the CA of users.
        reviews: the reviews; by default anybody may read metrics and paths.
    """

    def __init__(self, api: KubernetesAPI, tokens: Mapping[str, Caller] | None = None) -> None:
        self._api = api
        self.front_proxies = Authority("front-proxy-ca")
        self.clients = Authority("kubernetes-ca")
        self.reviews = Reviews(tokens or {})
        self.reviews.decide = _readers
        api.aggregate("authentication.k8s.io", "v1", self.reviews.token_review)
        api.aggregate("authorization.k8s.io", "v1", self.reviews.subject_access_review)
        self.publish()

    def publish(self, allowed_names: tuple[str, ...] = (FRONT_PROXY,)) -> None:
        """Publish the CAs in the ConfigMap; call it again after replacing one."""
        self._api.apply(
            CONFIG_MAPS,
            {
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {
                    "name": "extension-apiserver-authentication",
                    "namespace": "kube-system",
                },
                "data": {
                    "client-ca-file": self.clients.bundle.decode(),
                    "requestheader-client-ca-file": self.front_proxies.bundle.decode(),
                    "requestheader-allowed-names": json.dumps(allowed_names),
                    "requestheader-username-headers": '["X-Remote-User"]',
                    "requestheader-group-headers": '["X-Remote-Group"]',
                    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
                    "requestheader-uid-headers": '["X-Remote-Uid"]',
                },
            },
        )

    def front_proxy(self, name: str = FRONT_PROXY) -> KeyPair:
        """Issue a front proxy's certificate."""
        return self.front_proxies.issue_client(name)


def _readers(_: Caller, access: Access) -> Object:
    may = access.verb == "get" if access.path else access.group in _METRICS
    return {"allowed": may, "reason": "simulated"}
