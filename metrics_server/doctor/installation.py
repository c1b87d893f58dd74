"""What is installed: the server's Deployment and its configuration."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import PurePosixPath

from msgspec import Struct

from metrics_server.common.numbers import parse_digits
from metrics_server.config.file import parse_config
from metrics_server.config.sections import Config
from metrics_server.doctor.api import Api, decoder
from metrics_server.doctor.installer import Installer, installer_of
from metrics_server.doctor.objects import ConfigMap, Container, Deployment, RunningPod
from metrics_server.errors import ConfigurationError, KubernetesError

SELECTOR = "app.kubernetes.io/name=gpu-metrics-server"
_PORT = 6443


class Installation(Struct, frozen=True):
    """The server in the cluster.

    Attributes:
        namespace: where it was looked for.
        deployment: its Deployment; None if there is none.
        config: its configuration; the defaults if it is not known.
        config_error: what is wrong with it; "" if nothing is.
        config_from: where it comes from, in words.
    """

    namespace: str
    deployment: Deployment | None
    config: Config
    config_error: str
    config_from: str

    @property
    def container(self) -> Container | None:
        """The server's container."""
        if self.deployment is None:
            return None
        return next(iter(self.deployment.spec.template.spec.containers), None)

    @property
    def flags(self) -> Mapping[str, str]:
        """The flags in its arguments, without their dashes; "true" for one without a value."""
        return flags_of((self.container and self.container.args) or ())

    @property
    def name(self) -> str:
        """The name of its Deployment."""
        return self.deployment.metadata.name if self.deployment else "gpu-metrics-server"

    @property
    def installer(self) -> Installer:
        """How it was installed."""
        return Installer() if self.deployment is None else installer_of(self.deployment.metadata)

    @property
    def account(self) -> str:
        """The user name of its ServiceAccount."""
        account = "gpu-metrics-server"
        if self.deployment is not None:
            account = self.deployment.spec.template.spec.service_account_name
        return f"system:serviceaccount:{self.namespace}:{account}"

    @property
    def manages_certificates(self) -> bool:
        """Whether it issues its own certificates."""
        return self.flags.get("self-managed-certs") == "true"

    @property
    def port(self) -> int:
        """The port that it listens on, by its flags."""
        text = self.flags.get("secure-port", "")
        port = parse_digits(text)
        return _PORT if port is None else port


async def read_installation(api: Api, namespace: str, config: Config | None) -> Installation:
    """Read what is installed.

    Args:
        api: the Kubernetes API.
        namespace: where the server is.
        config: its configuration, if it is known already.

    Raises:
        KubernetesError: its Deployment cannot be read.
    """
    found = await api.list(
        f"/apis/apps/v1/namespaces/{namespace}/deployments",
        decoder(Deployment),
        {"labelSelector": SELECTOR},
    )
    deployment = next(iter(found), None)
    installed = Installation(namespace, deployment, config or Config(), "", "--config")
    if config is not None:
        return installed
    return await _configured(api, installed)


async def read_server_pods(api: Api, namespace: str) -> Sequence[RunningPod]:
    """Return the server's pods.

    Raises:
        KubernetesError: they cannot be read.
    """
    path = f"/api/v1/namespaces/{namespace}/pods"
    return await api.list(path, decoder(RunningPod), {"labelSelector": SELECTOR})


async def _configured(api: Api, found: Installation) -> Installation:
    """Return the installation with the configuration of its ConfigMap and its flags."""
    config, problem, source = Config(), "", "the defaults"
    place = _config_map(found)
    text = b""
    if place is not None:
        name, key = place
        source = f"ConfigMap {found.namespace}/{name}"
        try:
            config_map = await api.find(
                f"/api/v1/namespaces/{found.namespace}/configmaps/{name}", ConfigMap
            )
        except KubernetesError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            source = f"the defaults, as {source} cannot be read"
        else:
            data = (config_map and config_map.data) or {}
            if key in data:
                text = data[key].encode()
            else:
                problem = f"{source} does not exist, or has no key {key}"
    try:
        config = parse_config(text, source, _overrides(found.flags))
    except ConfigurationError as error:
        problem = str(error)
    return Installation(found.namespace, found.deployment, config, problem, source)


def _config_map(found: Installation) -> tuple[str, str] | None:
    """Return the name and key of the ConfigMap that --config is mounted from."""
    file = found.flags.get("config")
    if file is None or found.deployment is None or found.container is None:
        return None
    path = PurePosixPath(file)
    volumes = {one.name: one for one in found.deployment.spec.template.spec.volumes or ()}
    for mount in found.container.volume_mounts or ():
        volume = volumes.get(mount.name)
        if volume and volume.config_map and path.is_relative_to(mount.mount_path):
            return volume.config_map.name, path.name
    return None


def _overrides(flags: Mapping[str, str]) -> Mapping[str, object]:
    settings = {"external-metrics": "externalMetrics", "custom-metrics": "customMetrics"}
    return {setting: flags[flag] == "true" for flag, setting in settings.items() if flag in flags}


def flags_of(arguments: Sequence[str]) -> Mapping[str, str]:
    """Return flags by name, without their dashes; "true" for one without a value."""
    found: dict[str, str] = {}
    for index, argument in enumerate(arguments):
        if not argument.startswith("--"):
            continue
        name, equals, value = argument.removeprefix("--").partition("=")
        following = arguments[index + 1 : index + 2]
        if not equals:
            value = following[0] if following and not following[0].startswith("-") else "true"
        found[name] = value
    return found
