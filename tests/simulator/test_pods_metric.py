"""The replicas that the HPA controller proposes for a Pods metric."""

import pytest

from metrics_server.simulator.autoscaling import pods
from metrics_server.simulator.autoscaling.hpa import Answer, Item, Proposal, ScaledPod
from tests.support.pods_metric import METRIC, PENDING, RUNNING, TERMINATING, first, items, scale_of

NOT_READY = ScaledPod("e", ready=False)

FAILED = ScaledPod("e", "Failed", ready=False)
SUCCEEDED = ScaledPod("e", "Succeeded", ready=False)


def proposed(answer: Answer, *more: ScaledPod) -> int:
    """The replicas for an answer, with four Running pods and more."""
    proposal = pods.propose(METRIC, scale_of(*RUNNING, *more), answer)
    assert isinstance(proposal, Proposal)
    return proposal.replicas


@pytest.mark.parametrize(
    ("answer", "replicas"),
    [
        (items(a=100, b=100, c=100, d=100), 8),
        (items(a=10, b=10, c=10, d=10), 1),
        (items(a=100, b=100, c=100), 6),
        (items(a=100, b=100), 4),
        (items(a=10, b=10), 3),
        (items(a=10), 4),
    ],
)
def test_missing_pods_damp_in_both_directions(answer: Answer, replicas: int) -> None:
    """As a real controller decided, for a target of 50 and four Running pods."""
    assert proposed(answer) == replicas


@pytest.mark.parametrize(
    ("fifth", "answer", "replicas"),
    [
        (NOT_READY, items(a=100, b=100, c=100, d=100, e=100), 10),
        (NOT_READY, items(a=100, b=100, c=100, d=100), 8),
        (NOT_READY, items(a=10, b=10, c=10, d=10), 2),
        (PENDING, items(a=100, b=100, c=100, d=100), 8),
        (PENDING, items(a=10, b=10, c=10, d=10), 1),
    ],
    ids=["not ready, hot", "not ready, missing", "not ready, cold", "Pending", "Pending, cold"],
)
def test_a_fifth_pod_counts_by_its_phase(fifth: ScaledPod, answer: Answer, replicas: int) -> None:
    """As a real controller decided: only Pending is unready; the condition Ready is ignored."""
    assert proposed(answer, fifth) == replicas


def test_a_stranger_counts() -> None:
    """As a real controller decided: 4 pods at 50 and a stranger at 500 average 140, over 4 pods."""
    assert proposed(items(a=50, b=50, c=50, d=50, stranger=500)) == 12


@pytest.mark.parametrize("fifth", [PENDING, TERMINATING, FAILED], ids=lambda pod: pod.phase)
def test_items_of_pods_that_do_not_count_are_dropped(fifth: ScaledPod) -> None:
    """An item for a terminating, Failed or Pending pod changes nothing."""
    without = items(a=60, b=60, c=60, d=60)
    assert proposed((*without, Item(900_000, "e")), fifth) == proposed(without, fifth)


@pytest.mark.parametrize("fifth", [TERMINATING, FAILED], ids=["terminating", "Failed"])
def test_ignored_pods_are_not_missing(fifth: ScaledPod) -> None:
    """Without an item, a terminating or Failed pod does not damp, as if it did not exist."""
    assert proposed(items(a=100, b=100, c=100, d=100), fifth) == 8
    assert proposed(items(a=10, b=10, c=10, d=10), fifth) == 1


def test_a_succeeded_pod_is_missing() -> None:
    """It no longer has a sample, and damps: ceil(18 / 50 x 5) = 2, not 1."""
    assert proposed(items(a=10, b=10, c=10, d=10), SUCCEEDED) == 2


def test_of_several_items_for_one_pod_the_last_counts() -> None:
    """The controller stores values by name."""
    assert proposed((*items(a=900, b=100, c=100, d=100), Item(100_000, "a"))) == 8


@pytest.mark.parametrize(
    ("milli", "replicas"),
    [(44_999, 9), (45_000, 10), (55_000, 10), (55_001, 12)],
)
def test_both_ends_of_the_tolerance_change_nothing(milli: int, replicas: int) -> None:
    """From 0.9 to 1.1 of the target the replicas stay; just outside they move."""
    scale = scale_of(*(ScaledPod(str(n)) for n in range(10)))
    answer = tuple(Item(milli, pod.name) for pod in scale.pods)
    proposal = pods.propose(METRIC, scale, answer)
    assert isinstance(proposal, Proposal)
    assert proposal.replicas == replicas


def test_missing_pods_at_the_target_change_nothing() -> None:
    """If the others are exactly at the target, nothing is assumed about missing pods."""
    decision = first(scale_of(*RUNNING), items(a=50))
    assert (decision.replicas, decision.reason) == (
        4,
        "gpu_utilization averages 50 over 1 pod, within 10% of the target of 50: stays at 4",
    )


def test_a_result_in_the_opposite_direction_changes_nothing() -> None:
    """If there are more replicas than pods, a scale-up must not become a scale-down."""
    proposal = pods.propose(METRIC, scale_of(*RUNNING, replicas=9), items(a=100, b=100, c=100))
    assert isinstance(proposal, Proposal)
    assert proposal.replicas == 9
    assert proposal.reason.endswith(
        "4 pods x 75 / 50, rounded up, is 6, which is in the opposite direction: stays at 9"
    )
