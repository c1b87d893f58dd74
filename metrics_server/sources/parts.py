"""What a source is built from, and what it adds to the server."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from metrics_server.config.sections import Config
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.endpoints import EndpointSlice
from metrics_server.kube.nodes import Node
from metrics_server.kube.pods import Pod
from metrics_server.kube.reflector import Reflector
from metrics_server.measuring.ahead import Preparing
from metrics_server.measuring.samples import MetricSource
from metrics_server.telemetry.metrics import Monitor

SourceWatch = Reflector[EndpointSlice] | Reflector[Node]


class Parts(Struct, frozen=True):
    """What every source can use.

    Attributes:
        config: the configuration file.
        urls: URLs of exporters from the command line.
        client: of the Kubernetes API.
        pods: the pods of a namespace.
        monitor: counts what happens.
    """

    config: Config
    urls: tuple[str, ...]
    client: KubernetesClient
    pods: Callable[[str], Sequence[Pod]]
    monitor: Monitor


class Built(Struct, frozen=True):
    """A source that is ready for use.

    Attributes:
        source: measures pods.
        ahead: reads ahead what the source will need; None if it cannot.
        watches: what it keeps in sync with the cluster, by name; the server is Ready once they are.
        sizes: how many entries it has in memory, by what they are.
    """

    source: MetricSource
    ahead: Preparing | None = None
    watches: Mapping[str, SourceWatch] = {}
    sizes: Mapping[str, Callable[[], int]] = {}
