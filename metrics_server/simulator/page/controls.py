"""What the page changes in a running demo: the load, faults of exporters, fields of the HPA."""

from msgspec import Struct, structs

from metrics_server.simulator.autoscaling.hpa import HorizontalPodAutoscaler, Metric
from metrics_server.simulator.controller import Controller
from metrics_server.simulator.demo.options import MetricType
from metrics_server.simulator.demo.queue import QueueScene, waiting_metric
from metrics_server.simulator.demo.scene import Scene
from metrics_server.simulator.demo.utilization import utilization_metric
from metrics_server.simulator.faults import Fault, FaultKind
from metrics_server.simulator.page.wire import Bounds, Controls

_FAULTS: tuple[FaultKind, ...] = ("down", "slow", "error", "garbage", "unlabelled")
_PODS = "A value for each pod. Pods without one damp the change; there is no fallback."
_EXTERNAL = "One value for all pods. "
_FALLBACKS = "Without a measurement it falls back: last known, simulated, error."
_NO_FALLBACKS = "Without a measurement it is an error."
_MOST_SECONDS = 600.0
_LEAST_TARGET = 0.001


class LoadChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of the load.

    Attributes:
        amount: the constant load; None for one that varies by itself.
    """

    amount: float | None


class FaultChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of the exporters' fault.

    Attributes:
        kind: the fault; None for none.
        exporters: how many exporters have it.
    """

    kind: FaultKind | None
    exporters: int


class HpaChange(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A change of the HPA; the attributes are those of `Controls`."""

    metric_type: MetricType
    target: float
    min_replicas: int
    max_replicas: int
    window: float
    scale_up_pods: int | None


Change = LoadChange | FaultChange | HpaChange


class RejectedChangeError(Exception):
    """A change is not possible.

    Attributes:
        field: the field that is wrong, as it is named in JSON.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Desk:
    """The controls of a demo.

    Args:
        scene: the cluster under a load.
        controller: the controller of its HPA.
    """

    def __init__(self, scene: Scene, controller: Controller) -> None:
        self._scene = scene
        self._controller = controller
        self._load: float | None = None
        self._kind = scene.options.metric_type

    @property
    def bounds(self) -> Bounds:
        """The values that the controls accept."""
        load, queue = self._scene.load_range, isinstance(self._scene, QueueScene)
        return Bounds(
            load_unit=load.unit,
            load_maximum=load.maximum,
            load_step=load.step,
            faults=() if queue else _FAULTS,
            metric_types={
                "pods": _PODS,
                "external": _EXTERNAL + (_NO_FALLBACKS if queue else _FALLBACKS),
            },
            target_maximum=50 if queue else 100,
            least_replicas=0 if queue else 1,
            most_replicas=self._scene.cluster.capacity,
            most_window=_MOST_SECONDS,
        )

    @property
    def controls(self) -> Controls:
        """The current state of what can be changed."""
        hpa = self._controller.hpa
        faulty = [e.fault.kind for e in self._scene.cluster.exporters if e.fault is not None]
        return Controls(
            load=self._load,
            fault=faulty[0] if faulty else None,
            exporters=len(faulty),
            metric_type=self._kind,
            target=hpa.metrics[0].target / 1000,
            min_replicas=hpa.min_replicas,
            max_replicas=hpa.max_replicas,
            window=hpa.stabilization_window,
            scale_up_pods=hpa.scale_up_pods,
        )

    async def apply(self, change: Change) -> None:
        """Make a change, which the next sync of the HPA sees.

        Raises:
            RejectedChangeError: it is not possible; nothing was changed.
        """
        match change:
            case LoadChange():
                self._change_load(change)
            case FaultChange():
                await self._change_fault(change)
            case HpaChange():
                self._change_hpa(change)

    def _change_load(self, change: LoadChange) -> None:
        if change.amount is not None:
            highest = self.bounds.load_maximum
            _check("amount", "the load", change.amount, 0, highest)
        self._scene.hold_load(change.amount)
        self._load = change.amount

    async def _change_fault(self, change: FaultChange) -> None:
        cluster = self._scene.cluster
        if change.kind is not None:
            if change.kind not in self.bounds.faults:
                raise RejectedChangeError("kind", f"this demo has no fault {change.kind}")
            _check("exporters", "the number of exporters", change.exporters, 1, self._exporters)
        try:
            await cluster.set_fault(None)
            if change.kind is not None:
                await cluster.set_fault(Fault(change.kind), exporters=change.exporters)
        except OSError as error:
            message = f"an exporter cannot listen again: {error.strerror or error}; try once more"
            raise RejectedChangeError("kind", message) from error

    @property
    def _exporters(self) -> int:
        return len(self._scene.cluster.exporters)

    def _change_hpa(self, change: HpaChange) -> None:
        bounds = self.bounds
        _check("target", "the target", change.target, _LEAST_TARGET, bounds.target_maximum)
        least, most = bounds.least_replicas, bounds.most_replicas
        _check("maxReplicas", "maxReplicas", change.max_replicas, max(1, least), most)
        _check("minReplicas", "minReplicas", change.min_replicas, least, change.max_replicas)
        _check("window", "the stabilization window", change.window, 0, bounds.most_window)
        if change.scale_up_pods is not None:
            _check("scaleUpPods", "the pods added in 15 s", change.scale_up_pods, 1, most)
        _, *others = self._controller.hpa.metrics
        hpa = structs.replace(
            self._controller.hpa,
            metrics=(self._metric(change), *others),
            min_replicas=change.min_replicas,
            max_replicas=change.max_replicas,
            stabilization_window=change.window,
            scale_up_pods=change.scale_up_pods,
        )
        self._use(hpa, change.metric_type)

    def _metric(self, change: HpaChange) -> Metric:
        target = round(change.target * 1000)
        if isinstance(self._scene, QueueScene):
            return waiting_metric(change.metric_type, target)
        return utilization_metric(change.metric_type, target)

    def _use(self, hpa: HorizontalPodAutoscaler, kind: MetricType) -> None:
        self._scene.hpa = self._controller.hpa = hpa
        self._kind = kind


def _check(field: str, what: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        # An integer may be too large for a float, and so for `:g`.
        given = str(value).removesuffix(".0")[:20]
        raise RejectedChangeError(field, f"{what} must be from {least:g} to {most:g}, not {given}")
