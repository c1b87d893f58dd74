"""Finding the address of a cluster, and the credentials for it, with the official client.

It does what is hard to get right and depends on the platform: kubeconfig files, TLS, credential
plugins, token rotation. All of it reads files, so all of it must run in a thread.
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

# The last four are what the client raises for a file that is not a kubeconfig.
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
    """Return the official client, configured, and a function that reloads its credentials.

    Both block.

    Args:
        kubeconfig: as for `kube.client.connect`.

    Raises:
        ConfigurationError: no configuration was found, or the one found is unusable.
    """
    configuration = Configuration()
    source, load = _source(configuration, kubeconfig)
    try:
        reload = load()
        api = ApiClient(configuration)
    except UNUSABLE as error:
        raise ConfigurationError(f"{source} cannot be used: {printed(error)}") from None
    api.user_agent = "gpu-metrics-server"
    return api, reload


def _source(
    configuration: Configuration, kubeconfig: Path | None
) -> tuple[str, Callable[[], Callable[[], None]]]:
    """Return where the configuration comes from, in words, and a function that loads it."""
    # $KUBECONFIG can name several files, which are merged.
    files = str(kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    if any(Path(file).expanduser().exists() for file in files.split(os.pathsep) if file):
        return f"the kubeconfig {files}", lambda: _from_kubeconfig(configuration, files)
    if kubeconfig is not None:
        raise ConfigurationError(f"the kubeconfig {kubeconfig} does not exist")
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise ConfigurationError(
            f"no Kubernetes API configured: {files} does not exist, and this does not run in a pod "
            "(KUBERNETES_SERVICE_HOST is not set); set --kubeconfig FILE or KUBECONFIG"
        )
    return "the service account of this pod", lambda: _from_service_account(configuration)


def _from_kubeconfig(configuration: Configuration, files: str) -> Callable[[], None]:
    loader = _run_in_this_thread(
        load_kube_config(files, client_configuration=configuration, persist_config=False)
    )
    return lambda: _run_in_this_thread(loader.load_and_set(configuration))


def _run_in_this_thread(loading: Coroutine[object, object, Loaded]) -> Loaded:
    """Run a coroutine that blocks (on files, or a credential plugin) outside the server's loop."""
    return asyncio.run(loading)


def _from_service_account(configuration: Configuration) -> Callable[[], None]:
    def load() -> None:
        load_incluster_config(configuration, try_refresh_token=False)

    load()
    return load


def printed(error: Exception) -> str:
    """Return an error's message, without the part of a kubeconfig that the client may quote."""
    return str(error).partition("{")[0]
