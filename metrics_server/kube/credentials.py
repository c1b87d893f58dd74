"""Finding the way to a cluster, and the credentials for it, by the official client.

It is used for what is hard to get right and changes with the platform: kubeconfig files, TLS,
credential plugins, tokens that rotate. All of it reads files, so all of it belongs in a thread.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

from metrics_server.errors import ConfigurationError

Loaded = TypeVar("Loaded")

# The last four are what the client raises at a file that is no kubeconfig.
UNUSABLE = (
    ConfigException,
    yaml.YAMLError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)


def load_credentials(kubeconfig: Path | None) -> tuple[ApiClient, Callable[[], None]]:
    """The official client, configured, and what reads its credentials anew; both block.

    Args:
        kubeconfig: as for `kube.client.connect`.

    Raises:
        ConfigurationError: no configuration was found, or the one found cannot be used.
    """
    configuration = Configuration()
    source, load = _source(configuration, kubeconfig)
    try:
        reload = load()
        api = ApiClient(configuration)
    except UNUSABLE as error:
        raise ConfigurationError(f"{source} cannot be used: {told(error)}") from None
    api.user_agent = "gpu-metrics-server"
    return api, reload


def _source(
    configuration: Configuration, kubeconfig: Path | None
) -> tuple[str, Callable[[], Callable[[], None]]]:
    """Where the configuration comes from, in words, and what loads it."""
    # $KUBECONFIG can name several files, which are merged.
    files = str(kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    if any(Path(file).expanduser().exists() for file in files.split(os.pathsep) if file):
        return f"the kubeconfig {files}", lambda: _from_kubeconfig(configuration, files)
    if kubeconfig is not None:
        raise ConfigurationError(f"the kubeconfig {kubeconfig} does not exist")
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise ConfigurationError(
            f"no way to a Kubernetes API: {files} does not exist, and this is no pod of a cluster "
            "(KUBERNETES_SERVICE_HOST is not set); give --kubeconfig FILE or set KUBECONFIG"
        )
    return "the service account of this pod", lambda: _from_service_account(configuration)


def _from_kubeconfig(configuration: Configuration, files: str) -> Callable[[], None]:
    loader = _run_in_this_thread(
        load_kube_config(files, client_configuration=configuration, persist_config=False)
    )
    return lambda: _run_in_this_thread(loader.load_and_set(configuration))


def _run_in_this_thread(loading: Coroutine[object, object, Loaded]) -> Loaded:
    """Run what reads files, and may run a credential plugin, apart from the server's event loop."""
    return asyncio.run(loading)


def _from_service_account(configuration: Configuration) -> Callable[[], None]:
    def load() -> None:
        load_incluster_config(configuration, try_refresh_token=False)

    load()
    return load


def told(error: Exception) -> str:
    """What an error says, without the part of a kubeconfig that the client may put into it."""
    return str(error).partition("{")[0]
