"""Finding the address of a cluster, and the credentials for it, with the official client.

It does what is hard to get right and depends on the platform: kubeconfig files, TLS, credential
plugins, token rotation. All of it reads files, so all of it must run in a thread.
"""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

from metrics_server.common.text import printable
from metrics_server.errors import ConfigurationError

Loaded = TypeVar("Loaded")

# The client's message if a context, or something that it names, is missing.
_MISSING = re.compile(r"Expected object with name (?P<name>.*) in .*/(?P<list>\w+) list$")

# Its messages if an entry of a list has no name, or the file lacks a key.
_NAMELESS = re.compile(r"Expected all values in .*/(?P<list>\w+) list to have 'name' key$")
_KEYLESS = re.compile(r"Expected key (?P<key>\S+) in ")

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


def load_credentials(
    kubeconfig: Path | None, context: str = ""
) -> tuple[ApiClient, Callable[[], None]]:
    """Return the official client, configured, and a function that reloads its credentials.

    Both block.

    Args:
        kubeconfig: as for `kube.client.connect`.
        context: likewise.

    Raises:
        ConfigurationError: no configuration was found, or the one found is unusable.
    """
    configuration = Configuration()
    source, load = _source(configuration, kubeconfig, context)
    try:
        reload = load()
        api = ApiClient(configuration)
    except UNUSABLE as error:
        raise ConfigurationError(f"{source} cannot be used: {printed(error)}") from None
    if not configuration.host:
        raise ConfigurationError(f"{source} cannot be used: its cluster has no server")
    api.user_agent = "gpu-metrics-server"
    return api, reload


def _source(
    configuration: Configuration, kubeconfig: Path | None, context: str
) -> tuple[str, Callable[[], Callable[[], None]]]:
    """Return where the configuration comes from, in words, and a function that loads it."""
    # $KUBECONFIG can name several files, which are merged.
    files = str(kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    if any(Path(file).expanduser().exists() for file in files.split(os.pathsep) if file):
        return f"the kubeconfig {files}", lambda: _from_kubeconfig(configuration, files, context)
    if kubeconfig is not None:
        raise ConfigurationError(f"the kubeconfig {kubeconfig} does not exist")
    if context:
        raise ConfigurationError(
            f"there is no context {printable(context)}: the kubeconfig {files} does not exist"
        )
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise ConfigurationError(
            f"no Kubernetes API configured: {files} does not exist, and this does not run in a pod "
            "(KUBERNETES_SERVICE_HOST is not set); set --kubeconfig FILE or KUBECONFIG"
        )
    return "the service account of this pod", lambda: _from_service_account(configuration)


def _from_kubeconfig(configuration: Configuration, files: str, context: str) -> Callable[[], None]:
    loader = _run_in_this_thread(
        load_kube_config(
            files,
            context=context or None,
            client_configuration=configuration,
            persist_config=False,
        )
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
    """Return why credentials cannot be used, without the part of a file that the client may quote.

    Python's own errors, which the client raises for a file that is not a kubeconfig, mean nothing
    to a user.
    """
    match error:
        case yaml.MarkedYAMLError(problem_mark=yaml.Mark() as mark):
            return f"it is not valid YAML (line {mark.line + 1}, column {mark.column + 1})"
        case yaml.YAMLError() | UnicodeError():
            return "it is not valid YAML"
        case OSError(errno=int(number)):
            return f"{error.filename}: {os.strerror(number)}"
        case TypeError() | LookupError() | AttributeError():
            return "it is not a kubeconfig"
    return _in_our_words(str(error).partition("{")[0])


def _in_our_words(text: str) -> str:
    """Return what the client says is missing from a kubeconfig, without its paths into the file."""
    if missing := _MISSING.search(text):
        kind = missing["list"].removesuffix("s")
        return f"it has no {kind} with the name {printable(missing['name'])}"
    if nameless := _NAMELESS.search(text):
        return f"an entry under {nameless['list']} has no name"
    if keyless := _KEYLESS.search(text):
        return f"it has no {keyless['key']}"
    return text.removeprefix("Invalid kube-config file. ")
