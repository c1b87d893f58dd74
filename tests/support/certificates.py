"""Replicas that manage their own certificates, and what they store in a Kubernetes API."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry

from metrics_server.errors import KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.events import Events
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import (
    API_SERVICES,
    CONFIG_MAPS,
    SECRETS,
    Json,
    Object,
    Resource,
)
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.api_service import EXTERNAL_METRICS
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.self_managed import SelfManaged
from metrics_server.tls.shared import Kubernetes
from tests.support.clock import WallClock

SERVICE, NAMESPACE = "gpu-metrics-server", "gpu-monitoring"
SECRET, CONFIG_MAP = "gpu-metrics-server-certificates", "gpu-metrics-server-ca"
NAME = f"{SERVICE}.{NAMESPACE}.svc"


def api_service(name: str = EXTERNAL_METRICS, **spec: Json) -> Object:
    """One of the server's APIServices, as in the manifest."""
    version, group = name.split(".", 1)
    return {
        "metadata": {"name": name, "labels": {"app": SERVICE}},
        "spec": {
            "group": group,
            "version": version,
            "service": {"namespace": NAMESPACE, "name": SERVICE, "port": 443},
            **spec,
        },
    }


def config_map(**data: Json) -> Object:
    """The ConfigMap, as in the manifest."""
    return {"metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE}, "data": {**data}}


def published(api: KubernetesAPI, name: str = EXTERNAL_METRICS) -> bytes:
    """The bundle that kube-apiserver verifies with; empty if it has none."""
    spec = msgspec.convert(_stored(api, API_SERVICES, "", name)["spec"], dict[str, object])
    return msgspec.convert(spec.get("caBundle", ""), bytes)


def in_config_map(api: KubernetesAPI) -> bytes:
    """The bundle that other clients read; empty if there is none."""
    found = api.store.get(CONFIG_MAPS, NAMESPACE, CONFIG_MAP)
    if found is None:
        return b""
    return msgspec.convert(found["data"], dict[str, str]).get("ca.crt", "").encode()


def data(api: KubernetesAPI) -> dict[str, bytes]:
    """The data of the Secret."""
    return msgspec.convert(_stored(api, SECRETS, NAMESPACE, SECRET)["data"], dict[str, bytes])


def _stored(api: KubernetesAPI, resource: Resource, namespace: str, name: str) -> Object:
    found = api.store.get(resource, namespace, name)
    assert found is not None
    return found


class Replica:
    """One server, and the pair that it serves.

    Args:
        client: a client of the Kubernetes API.
        clock: the time of day; monotonic time advances with it.
        api_services: those that it serves.
        use: called with each pair to serve.
        events: emits events; through the same client if None.
    """

    def __init__(
        self,
        client: Kubernetes,
        clock: WallClock,
        api_services: Sequence[str] = (EXTERNAL_METRICS,),
        use: Callable[[KeyPair], None] = lambda _: None,
        events: Events | None = None,
    ) -> None:
        self.pairs: list[KeyPair] = []

        def take(pair: KeyPair) -> None:
            use(pair)
            self.pairs.append(pair)

        self.managed = SelfManaged(
            client,
            service=SERVICE,
            namespace=NAMESPACE,
            secret=SECRET,
            config_map=CONFIG_MAP,
            api_services=api_services,
            events=events or Events(client),
            use=take,
            monitor=Monitor(CollectorRegistry()),
            rand=lambda: 1.0,
            clock=clock,
            ticks=lambda: clock().timestamp(),
        )

    async def settle(self) -> datetime:
        """Do everything that is due."""
        return await self.managed.settle()

    @property
    def error(self) -> str:
        """The known problem with publishing; empty if there is none."""
        return self.managed.bundle_error or ""

    @property
    def serving(self) -> KeyPair:
        """The pair that it serves now."""
        return self.pairs[-1]


class Refusing:
    """A client of a Kubernetes API that refuses some requests.

    Args:
        client: a client of the API.
        refused: HTTP statuses by part of the path; for writes only, unless the
            part begins with "GET ".
    """

    def __init__(self, client: KubernetesClient, refused: Mapping[str, int]) -> None:
        self.refused = dict(refused)
        self._client = client

    async def get(self, path: str, query: Mapping[str, str], *, timeout: float) -> bytes:  # noqa: ASYNC109 - as in the client
        """Read, unless it is refused."""
        self._refuse(f"GET {path}", "GET ")
        return await self._client.get(path, query, timeout=timeout)

    async def send(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Struct | Mapping[str, object],
        *,
        timeout: float,  # noqa: ASYNC109 - as in the client
    ) -> bytes:
        """Write, unless it is refused."""
        self._refuse(path)
        return await self._client.send(method, path, body, timeout=timeout)

    def _refuse(self, request: str, prefix: str = "") -> None:
        for part, code in self.refused.items():
            path = part.removeprefix("GET ")
            if part.startswith("GET ") == bool(prefix) and path in request:
                raise KubernetesError(f"{path} is not for you", code)
