"""What the demos of GPU utilization and of the queue have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from metrics_server.simulator.autoscaling.hpa import HorizontalPodAutoscaler
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.controller import Controller, Sync
from metrics_server.simulator.demo.moments import Moment
from metrics_server.simulator.demo.options import DemoOptions, Tempo


class Scene(ABC):
    """A cluster under a load, and an HPA in it.

    Args:
        options: the flags.
        tempo: the durations.
        cluster: the cluster.
        hpa: the HPA.
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

    @abstractmethod
    async def moment(self, seconds: float, sync: Sync, controller: Controller) -> Moment:
        """Return what to show after a sync, this many seconds after the start."""

    @abstractmethod
    def introduction(self, url: str, kubectl: str) -> str:
        """Return what is real and what is simulated, and commands to try.

        Args:
            url: the server's.
            kubectl: the command, with its kubeconfig.
        """

    @abstractmethod
    def summary(self, syncs: Sequence[Sync]) -> str:
        """Return what happened; there was at least one sync."""
