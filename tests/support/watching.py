"""HPAs that are watched, and the reports about them."""

from msgspec import structs

from metrics_server.advising.watcher import Watcher
from metrics_server.errors import PodsUnknownError
from metrics_server.kube.events import Regarding
from metrics_server.kube.pods import Pod
from tests.advising.manifests import hpa, pods, setup
from tests.support.clock import Clock

MEAN = (
    "- {type: External, external: {metric: {name: gpu_utilization, selector: {matchLabels: {app: "
    'inference}}}, target: {averageValue: "70"}}}'
)
TYPO = (
    "- {type: External, external: {metric: {name: gpu_utilization, selector: {matchLabels: {app: "
    'typo}}}, target: {value: "70"}}}'
)
RIGHT = TYPO.replace("typo", "inference")
KEY = ("default", "inference")


class Recorder:
    """Records events, and returns whether they were emitted."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.regarding: list[Regarding] = []
        self.works = True

    async def warn(self, regarding: Regarding, reason: str, message: str) -> bool:
        """Record one."""
        assert message
        self.reasons.append(reason)
        self.regarding.append(regarding)
        return self.works


class Stage:
    """A watcher, and what it depends on.

    Attributes:
        listed: the pods of the namespace; None if unknown.
        events: the emitted events.
        clock: the watcher's.
    """

    def __init__(self, period: float = 120) -> None:
        self.listed: tuple[Pod, ...] | None = pods()
        self.events = Recorder()
        self.clock = Clock()
        self.watcher = Watcher(setup(), self, self.events, period=period, clock=self.clock)
        self.store = self.watcher.store()

    def in_namespace(self, _: str) -> tuple[Pod, ...]:
        """The pods in a namespace."""
        if self.listed is None:
            raise PodsUnknownError("not known yet")
        return self.listed

    async def look(self, after: float = 0) -> list[str]:
        """Look at the HPA this many seconds later, and return the reasons of all events so far."""
        self.clock.advance(after)
        await self.watcher.look(KEY)
        return self.events.reasons

    def apply(self, metrics: str, **fields: str) -> None:
        """Give the HPA these metrics."""
        self.store.apply("MODIFIED", structs.replace(hpa(metrics), **fields))

    def counts(self) -> dict[str, int]:
        """The nonzero counts of findings."""
        return {reason: count for reason, count in self.watcher.counts().items() if count}
