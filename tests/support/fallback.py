"""A fallback chain, and pods for it."""

from collections.abc import Sequence

from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.measuring.fallback import FallbackChain, FallbackKind, Simulated
from metrics_server.measuring.samples import Answer, Question
from metrics_server.measuring.selection import Selection
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from tests.support.clock import Clock

UTILIZATION = Rules(CATALOGUE).find("gpu_utilization")

QUESTION = Question("default", "gpu_utilization", parse_selector("app=a"))
MISSING = MeasurementMissingError("0 of 2 pods have a measurement", "exporters-failed")
REAL = Answer(83.0, 0, 1000.0, "exporters", 2, 2, ceiling=100)


def chain(kinds: Sequence[FallbackKind], clock: Clock) -> FallbackChain:
    """A chain with a last-known age of 60 s and the default simulation."""
    return FallbackChain(
        kinds,
        last_known_max_age=60,
        simulated=Simulated(),
        clock=clock,
    )


def pods(
    ready: int, replicas: int | None = None, *, added: int = 0, created: float = 1e9
) -> Selection:
    """The pods of a question, all Ready by default.

    The last `added` pods were created a minute after the others.
    """
    count = max(1, ready if replicas is None else replicas)
    staying = tuple(
        Pod(
            namespace="default",
            name=f"pod-{n}",
            labels={},
            node="gpu-0",
            phase="Running",
            ready=n < ready,
            terminating=False,
            gpus=1,
            created=created + 60 if n >= count - added else created,
        )
        for n in range(count)
    )
    return Selection(staying[:ready], ready, staying)
