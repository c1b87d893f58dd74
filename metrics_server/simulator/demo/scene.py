"""What the demos of GPU utilization and of the queue share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from metrics_server.api.types import GROUP
from metrics_server.simulator.autoscaling.hpa import HorizontalPodAutoscaler
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.controller import Controller, Sync
from metrics_server.simulator.demo.moments import QueueMoment, UtilizationMoment
from metrics_server.simulator.demo.options import DemoOptions, Tempo
from metrics_server.simulator.manifests import APP


class LoadRange(Struct, frozen=True):
    """The loads that can be chosen by hand.

    Attributes:
        unit: their unit.
        maximum: the highest; the lowest is 0.
        step: between two of them.
    """

    unit: str
    maximum: float
    step: float


class Commands(Struct, frozen=True):
    """Commands that work against the cluster, from another terminal.

    Attributes:
        program: how the demo's own program was started.
        kubeconfig: the file that leads to the cluster.
    """

    program: str
    kubeconfig: Path

    def to_try(self, metric: str, paths: Sequence[str]) -> str:
        """Return commands, a line each: they look at the HPA, its pods and a metric.

        Args:
            metric: the metric's name.
            paths: the paths of the HPA's requests.
        """
        # kubectl encodes the star as the HPA does.
        raw = (f"kubectl get --raw '{path.replace('%2A', '*')}'" for path in paths)
        lines = (
            f"export KUBECONFIG={self.kubeconfig}",
            f"kubectl get hpa {APP} --watch",
            f"kubectl describe hpa {APP}",
            "kubectl get pods --watch",
            f"kubectl get {metric}.{GROUP}",
            *raw,
            f"{self.program} ask --hpa {APP}",
            f"{self.program} top",
            f"{self.program} doctor --hpa {APP}",
        )
        return "\n".join(f"  {line}" for line in lines)


class Scene(ABC):
    """A cluster under a load, and an HPA in it.

    Args:
        options: the flags.
        tempo: the durations.
        cluster: the cluster.
        hpa: the HPA; it may be replaced at any time.
    """

    def __init__(
        self, options: DemoOptions, tempo: Tempo, cluster: Cluster, hpa: HorizontalPodAutoscaler
    ) -> None:
        self.options, self.tempo = options, tempo
        self.cluster, self.hpa = cluster, hpa

    @property
    def settings(self) -> Mapping[str, Mapping[str, object]]:
        """The server's configuration."""
        return {
            "exporters": {"timeout": f"{self.tempo.timeout}s", "maxAge": f"{self.tempo.max_age}s"},
            "fallback": {"lastKnownMaxAge": f"{self.tempo.last_known}s"},
        }

    def step(self) -> None:
        """Advance the cluster to the present."""
        self.cluster.step()

    @property
    @abstractmethod
    def load_range(self) -> LoadRange:
        """The loads that `hold_load` accepts."""

    @abstractmethod
    def hold_load(self, amount: float | None) -> None:
        """Keep the load constant, or with None let it vary again."""

    @abstractmethod
    async def moment(
        self, seconds: float, sync: Sync, controller: Controller
    ) -> UtilizationMoment | QueueMoment:
        """Return what to show after a sync, this many seconds after the start."""

    @abstractmethod
    def introduction(self, url: str, commands: Commands) -> str:
        """Return what is real and what is simulated, and commands to try.

        Args:
            url: the server's.
            commands: what works against the cluster.
        """

    @abstractmethod
    def summary(self, syncs: Sequence[Sync]) -> str:
        """Return what happened; there was at least one sync."""
