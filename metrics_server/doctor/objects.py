"""Objects of the Kubernetes API, as far as the checks read them (pure)."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from metrics_server.common.text import printable


class Owner(Struct):
    """An object that owns another."""

    kind: str = ""
    name: str = ""


class Meta(Struct, rename="camel"):
    """An object's metadata."""

    name: str
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None


class Condition(Struct):
    """A condition in an object's status."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


class ServiceReference(Struct):
    """The Service behind an APIService."""

    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ApiServiceSpec(Struct, rename="camel"):
    """The spec of an APIService."""

    group: str = ""
    version: str = ""
    service: ServiceReference | None = None
    ca_bundle: bytes = b""
    insecure: bool = msgspec.field(default=False, name="insecureSkipTLSVerify")


class ConditionsStatus(Struct):
    """A status with conditions."""

    conditions: list[Condition] | None = None


class ApiService(Struct):
    """An apiregistration.k8s.io/v1 APIService."""

    metadata: Meta
    spec: ApiServiceSpec
    status: ConditionsStatus | None = None

    @property
    def available(self) -> Condition | None:
        """The condition Available."""
        found = (self.status and self.status.conditions) or ()
        return next((one for one in found if one.type == "Available"), None)


class _Port(Struct, rename="camel"):
    container_port: int
    name: str = ""


class _Mount(Struct, rename="camel"):
    name: str
    mount_path: str


class Container(Struct, rename="camel"):
    """A container."""

    name: str = ""
    image: str = ""
    args: list[str] | None = None
    command: list[str] | None = None
    ports: list[_Port] | None = None
    volume_mounts: list[_Mount] | None = None


class _ConfigMapVolume(Struct):
    name: str = ""


class _Volume(Struct, rename="camel"):
    name: str
    config_map: _ConfigMapVolume | None = None


class PodSpec(Struct, rename="camel"):
    """A pod's spec."""

    containers: list[Container]
    node_name: str = ""
    service_account_name: str = "default"
    volumes: list[_Volume] | None = None


class _Reason(Struct):
    reason: str = ""
    message: str = ""


class _State(Struct):
    waiting: _Reason | None = None
    terminated: _Reason | None = None


class ContainerStatus(Struct, rename="camel"):
    """The status of a container."""

    name: str = ""
    ready: bool = False
    restart_count: int = 0
    state: _State = msgspec.field(default_factory=_State)
    last_state: _State = msgspec.field(default_factory=_State)

    @property
    def has_run(self) -> bool:
        """Whether it has started at least once."""
        has_ended = self.state.terminated is not None or self.last_state.terminated is not None
        return self.state.waiting is None or has_ended or self.restart_count > 0


class PodStatus(Struct, rename="camel"):
    """A pod's status."""

    phase: str = ""
    conditions: list[Condition] | None = None
    container_statuses: list[ContainerStatus] | None = None


class RunningPod(Struct):
    """A pod of the server or of an exporter."""

    metadata: Meta
    spec: PodSpec
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def ready(self) -> bool:
        """Whether the condition Ready is True."""
        found = self.status.conditions or ()
        return any(one.type == "Ready" and one.status == "True" for one in found)

    @property
    def has_run(self) -> bool:
        """Whether a container of it has started at least once."""
        return any(one.has_run for one in self.status.container_statuses or ())

    @property
    def https_port(self) -> int:
        """The port of the server; 0 if its containers do not name it."""
        ports = (port for one in self.spec.containers for port in one.ports or ())
        return next((port.container_port for port in ports if port.name == "https"), 0)

    @property
    def state(self) -> str:
        """Why it is not Ready, in a few words."""
        for one in self.status.container_statuses or ():
            if one.state.waiting is not None and one.state.waiting.reason:
                last = one.last_state.terminated
                ended = f", last ended with {last.reason}" if last and last.reason else ""
                return printable(f"{one.state.waiting.reason}{ended}")
        scheduled = next(
            (one for one in self.status.conditions or () if one.type == "PodScheduled"), None
        )
        if scheduled is not None and scheduled.status == "False":
            return printable(f"{scheduled.reason}: {scheduled.message}")
        return "not Ready" if self.status.phase == "Running" else printable(self.status.phase)


class _Template(Struct):
    spec: PodSpec


class _DeploymentSpec(Struct):
    template: _Template
    replicas: int = 1


class _DeploymentStatus(Struct, rename="camel"):
    ready_replicas: int = 0


class Deployment(Struct):
    """An apps/v1 Deployment."""

    metadata: Meta
    spec: _DeploymentSpec
    status: _DeploymentStatus = msgspec.field(default_factory=_DeploymentStatus)


class ConfigMap(Struct):
    """A core/v1 ConfigMap."""

    metadata: Meta
    data: dict[str, str] | None = None


class _NodeStatus(Struct):
    capacity: Mapping[str, str | int] | None = None
    conditions: list[Condition] | None = None


class GpuNode(Struct):
    """A core/v1 Node."""

    metadata: Meta
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


class KubernetesVersion(Struct, rename="camel"):
    """The answer to /version."""

    git_version: str = ""


class ReviewStatus(Struct):
    """The status of an access review."""

    allowed: bool = False


class Review(Struct):
    """The answer to an access review."""

    status: ReviewStatus
