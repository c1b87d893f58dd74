"""Pods as a kubelet reads them: the part of a core/v1 Pod that the tests' nodes use."""

from msgspec import Struct

GPU = "nvidia.com/gpu"


class Metadata(Struct, frozen=True, rename="camel"):
    """An ObjectMeta."""

    name: str
    namespace: str
    uid: str
    deletion_timestamp: str | None = None


class Resources(Struct, frozen=True):
    """A container's resources."""

    limits: dict[str, str] = {}


class Mount(Struct, frozen=True, rename="camel"):
    """A VolumeMount."""

    name: str
    mount_path: str


class Port(Struct, frozen=True, rename="camel"):
    """A ContainerPort."""

    container_port: int


class HTTPGet(Struct, frozen=True):
    """The request of a probe."""

    path: str = "/"


class Probe(Struct, frozen=True, rename="camel"):
    """A probe."""

    http_get: HTTPGet = HTTPGet()


class Container(Struct, frozen=True, rename="camel"):
    """A container."""

    name: str
    image: str
    command: list[str] = []
    args: list[str] = []
    ports: list[Port] = []
    resources: Resources = Resources()
    volume_mounts: list[Mount] = []
    readiness_probe: Probe = Probe()


class ConfigMapSource(Struct, frozen=True):
    """The ConfigMap of a volume."""

    name: str


class SecretSource(Struct, frozen=True, rename="camel"):
    """The Secret of a volume."""

    secret_name: str


class Volume(Struct, frozen=True, rename="camel"):
    """A volume, if it is from a ConfigMap or a Secret."""

    name: str
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None


class PodSpec(Struct, frozen=True, rename="camel"):
    """A PodSpec."""

    containers: list[Container]
    service_account_name: str = "default"
    node_name: str | None = None
    host_network: bool = False
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    volumes: list[Volume] = []


class Pod(Struct, frozen=True):
    """A Pod of one container."""

    metadata: Metadata
    spec: PodSpec

    @property
    def container(self) -> Container:
        """Its container."""
        (only,) = self.spec.containers
        return only

    @property
    def gpus(self) -> int:
        """How many GPUs it requests."""
        return int(self.container.resources.limits.get(GPU, 0))

    @property
    def path(self) -> str:
        """Its path in the API."""
        return f"/api/v1/namespaces/{self.metadata.namespace}/pods/{self.metadata.name}"


class PodList(Struct, frozen=True):
    """A PodList."""

    items: list[Pod]
