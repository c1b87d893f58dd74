"""The replicas for a Pods metric, against a second implementation of the rules."""

from collections.abc import Iterable, Mapping
from math import ceil

from hypothesis import example, given
from hypothesis import strategies as st

from metrics_server.simulator.autoscaling import pods
from metrics_server.simulator.autoscaling.hpa import (
    Item,
    ScaledPod,
    Unable,
)
from tests.support.pods_metric import METRIC, NO_METRICS, PENDING, RUNNING, items, scale_of


def mean_of(values: Mapping[str, int]) -> int:
    """The mean in whole milli-values."""
    return sum(values.values()) // len(values)


def near(ratio: float) -> bool:
    """Within the tolerance of 10 %."""
    return 0.9 <= ratio <= 1.1


def counted(
    scaled: Iterable[ScaledPod], values: dict[str, int]
) -> tuple[list[str], list[str], int]:
    """Unready and missing pods, and the number of others; drops items of ignored pods."""
    unready, missing, ready = [], [], 0
    for pod in scaled:
        if pod.terminating or pod.phase == "Failed":
            values.pop(pod.name, None)
        elif pod.phase == "Pending":
            values.pop(pod.name, None)
            unready.append(pod.name)
        elif pod.name not in values:
            missing.append(pod.name)
        else:
            ready += 1
    return unready, missing, ready


def restated(scaled: Iterable[ScaledPod], answer: tuple[Item, ...], current: int) -> int | str:
    """The controller's rules again, pod by pod; returns text for an error."""
    listed = list(scaled)
    values: dict[str, int] = {}
    for item in answer:
        values[item.described] = item.value
    unready, missing, ready = counted(listed, values)
    if not (answer and listed and values):
        return NO_METRICS[0] if not answer else NO_METRICS[1] if listed else NO_METRICS[2]

    before = mean_of(values) / METRIC.target
    if not missing and not (unready and before > 1):
        return current if near(before) else ceil(before * ready)
    if before < 1:
        values |= dict.fromkeys(missing, METRIC.target)
    if before > 1:
        values |= dict.fromkeys(missing, 0) | dict.fromkeys(unready, 0)
    after = mean_of(values) / METRIC.target
    replicas = ceil(after * len(values))
    unchanged = (
        near(after)
        or (before < 1 < after)
        or (after < 1 < before)
        or (after < 1 and replicas > current)
        or (after > 1 and replicas < current)
    )
    return current if unchanged else replicas


NAMES = "abcdefgh"
SCALED = st.lists(
    st.builds(
        ScaledPod,
        name=st.sampled_from(NAMES[:6]),
        phase=st.sampled_from(["Running", "Running", "Running", "Pending", "Succeeded", "Failed"]),
        ready=st.booleans(),
        terminating=st.sampled_from([False, False, False, True]),
    ),
    unique_by=lambda pod: pod.name,
    max_size=6,
).map(tuple)
ANSWERS = st.lists(
    st.builds(
        Item,
        value=st.sampled_from([0, 10_000, 45_000, 50_000, 55_000, 100_000])
        | st.integers(0, 200_000),
        described=st.sampled_from(NAMES),
    ),
    max_size=10,
).map(tuple)


@given(scaled=SCALED, answer=ANSWERS, current=st.integers(1, 12))
@example(scaled=RUNNING, answer=items(a=100, b=100, c=100), current=9)
@example(scaled=(*RUNNING, PENDING), answer=items(a=100, b=100, c=100, stranger=10), current=5)
def test_every_answer_is_counted_by_the_rules(
    scaled: tuple[ScaledPod, ...], answer: tuple[Item, ...], current: int
) -> None:
    """For any pods, and any of their items."""
    proposal = pods.propose(METRIC, scale_of(*scaled, replicas=current), answer)
    found = proposal.cause if isinstance(proposal, Unable) else proposal.replicas
    assert found == restated(scaled, answer, current)
