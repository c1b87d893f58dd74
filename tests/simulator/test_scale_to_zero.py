"""The autoscaler at zero replicas and with several metrics, like Kubernetes' controller."""

from msgspec import structs

from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    Answer,
    Decision,
    ExternalMetric,
    History,
    HorizontalPodAutoscaler,
    Item,
    MetricUnavailable,
    PodsMetric,
    Scale,
    ScaledPod,
)

QUEUE = ExternalMetric("inference_queue_size", "app=gateway", "AverageValue", 4000)
BUSY = PodsMetric("llm_requests_waiting", 4000, source="pods")
HPA = HorizontalPodAutoscaler(
    namespace="default",
    metrics=(BUSY, QUEUE),
    min_replicas=0,
    max_replicas=10,
    stabilization_window=0,
)
ALONE = structs.replace(HPA, metrics=(QUEUE,))
NONE = MetricUnavailable("no pod matches")
ASLEEP = History(((0, 0),), scaled_to_zero=True)


def pods(count: int) -> Scale:
    """A scale with this many pods."""
    return Scale(count, count, tuple(ScaledPod(f"pod-{n}") for n in range(count)))


def queue(requests: int) -> tuple[Item, ...]:
    """An answer for the gateway's queue."""
    return (Item(requests * 1000),)


def waiting(*requests: int) -> tuple[Item, ...]:
    """An answer with each pod's waiting requests."""
    return tuple(Item(one * 1000, f"pod-{n}") for n, one in enumerate(requests))


def conditions(decision: Decision) -> dict[str, tuple[str, str]]:
    """Each condition's status and reason."""
    return {one.type: (one.status, one.reason) for one in decision.conditions}


def test_it_goes_to_zero_and_comes_back() -> None:
    """Nothing waits: zero. Requests queue at the gateway: ceil(5 / 4) = 2, in one step."""
    to_zero = decide(ALONE, pods(1), (queue(0),), History(), 0)
    assert to_zero.replicas == 0
    assert conditions(to_zero)["ScaledToZero"] == ("True", "ScaledToZero")

    asleep = decide(ALONE, pods(0), (queue(0),), to_zero.history, 1)
    assert (asleep.replicas, asleep.current) == (0, (0,))
    assert asleep.reason == (
        "inference_queue_size sums to 0 with no replicas: 0 / 4, rounded up, is 0"
    )
    assert "ScaledToZero" not in conditions(asleep)

    awake = decide(ALONE, pods(0), (queue(5),), asleep.history, 2)
    assert awake.replicas == 2
    assert conditions(awake)["ScaledToZero"] == ("False", "NotScaledToZero")
    assert not awake.history.scaled_to_zero


def test_from_zero_there_is_no_tolerance() -> None:
    """A Value is divided by the target and rounded up, even if close; not multiplied by 0 pods."""
    value = structs.replace(ALONE, metrics=(structs.replace(QUEUE, target_type="Value"),))
    for hpa in (ALONE, value):
        sizes = [
            decide(hpa, pods(0), (queue(n),), ASLEEP, 20).replicas for n in (0, 1, 4, 5, 8, 900)
        ]
        assert sizes == [0, 1, 1, 2, 2, 4], "900 is limited to four more"


def test_only_what_the_hpa_put_to_sleep_is_woken() -> None:
    """Zero replicas set by hand, or before the HPA existed, turn it off."""
    decision = decide(ALONE, pods(0), (queue(5),), History(), 0)
    assert decision.replicas == 0
    assert conditions(decision)["ScalingActive"] == ("False", "ScalingDisabled")


def test_a_workload_is_not_put_to_sleep_by_a_pods_metric_alone() -> None:
    """The API server rejects such an HPA; the controller would not wake its workload."""
    hpa = structs.replace(HPA, metrics=(BUSY,))
    decision = decide(hpa, pods(1), (waiting(0),), History(), 0)
    assert conditions(decision)["ScaledToZero"] == ("False", "NotScaledToZero")
    raised = structs.replace(hpa, min_replicas=2)
    for later in (hpa, raised):
        asleep = decide(later, pods(0), (NONE,), decision.history, 1)
        assert conditions(asleep)["ScalingActive"] == ("False", "ScalingDisabled")


def test_a_higher_minimum_wakes() -> None:
    """With minReplicas raised from 0, the workload comes back even if nothing waits."""
    raised = structs.replace(ALONE, min_replicas=2)
    assert decide(raised, pods(0), (queue(0),), ASLEEP, 20).replicas == 2
    assert decide(raised, pods(0), (queue(0),), History(), 20).replicas == 0


def test_the_highest_proposal_wins() -> None:
    """Each metric has its own current value in the status."""
    decision = decide(HPA, pods(2), (waiting(12, 12), queue(1)), History(), 0)
    assert (decision.replicas, decision.current) == (6, (12_000, 500))
    assert decision.reason.startswith("llm_requests_waiting averages 12")
    assert decide(HPA, pods(2), (waiting(0, 0), queue(12)), History(), 0).replicas == 3


def test_a_missing_metric_blocks_removing_only() -> None:
    """At zero the pods' own metric is missing, and the gateway's still wakes the workload.

    While the first pod loads, the missing metric keeps it.
    """
    gone: tuple[Answer, ...] = (NONE, queue(0))
    assert decide(HPA, pods(0), (NONE, queue(1)), ASLEEP, 20).replicas == 1
    kept = decide(HPA, pods(1), gone, History(), 20)
    assert (kept.replicas, kept.current) == (1, (None, 0))
    assert conditions(kept)["ScalingActive"] == ("False", "FailedGetPodsMetric")
    assert decide(HPA, pods(1), (NONE, queue(8)), History(), 20).replicas == 2
    both = decide(HPA, pods(1), (NONE, NONE), History(), 20)
    assert both.replicas == 1
    assert "llm_requests_waiting" in both.reason, "the first one is named"
