"""The autoscaler decides like Kubernetes' controller, on an External metric."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.api.types import milli_value
from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    Decision,
    ExternalMetric,
    History,
    HorizontalPodAutoscaler,
    Item,
    MetricUnavailable,
    Scale,
    ScaledPod,
    quantity,
)
from tests.support.data import KUBE_API

METRIC = ExternalMetric("gpu_utilization", "app=inference", "Value", 75_000)
VALUE = HorizontalPodAutoscaler(namespace="default", metrics=(METRIC,), max_replicas=10)
AVERAGE = structs.replace(VALUE, metrics=(structs.replace(METRIC, target_type="AverageValue"),))


def scale_of(replicas: int, pods: int, ready: int) -> Scale:
    """A scale with this many pods, this many of them Ready."""
    return Scale(replicas, pods, tuple(ScaledPod(f"pod-{n}", ready=n < ready) for n in range(pods)))


def all_ready(replicas: int) -> Scale:
    """A scale whose pods are all Ready."""
    return scale_of(replicas, replicas, replicas)


def items(*milli_values: int) -> tuple[Item, ...]:
    """An answer with these values."""
    return tuple(map(Item, milli_values))


def at_once(autoscaler: HorizontalPodAutoscaler, scale: Scale, *milli_values: int) -> Decision:
    """A controller's first decision, at time 0."""
    return decide(autoscaler, scale, (items(*milli_values),), History(), 0)


def condition(decision: Decision, kind: str) -> tuple[str, str, str]:
    """A condition's status, reason and message."""
    return next((c.status, c.reason, c.message) for c in decision.conditions if c.type == kind)


def test_it_scales_as_the_recorded_controller_did() -> None:
    """Answer 91, target 75, 2 ready replicas: 3, 4, 5, 6 at successive syncs, and no further."""
    hpa = json.loads((KUBE_API / "hpa-inference.json").read_text())["response"]["body"]
    events = json.loads((KUBE_API / "hpa-events.json").read_text())["response"]["body"]["items"]
    sizes = [
        int(match[1]) for e in events if (match := re.match(r"New size: (\d+);", e["message"]))
    ]
    target = hpa["spec"]["metrics"][0]["external"]["target"]
    autoscaler = structs.replace(
        VALUE,
        metrics=(
            structs.replace(
                METRIC, target_type=target["type"], target=milli_value(target["value"])
            ),
        ),
        min_replicas=hpa["spec"]["minReplicas"],
        max_replicas=hpa["spec"]["maxReplicas"],
    )
    usage = milli_value(hpa["status"]["currentMetrics"][0]["external"]["current"]["value"])

    replicas, history, seen = 2, History(), []
    decision = None
    for sync in range(len(sizes) + 1):
        decision = decide(autoscaler, all_ready(replicas), (items(usage),), history, 15.0 * sync)
        replicas, history = decision.replicas, decision.history
        seen.append(replicas)

    assert sizes == [3, 4, 5, 6]
    assert seen == [*sizes, sizes[-1]]
    assert decision is not None
    recorded = {
        c["type"]: (c["status"], c["reason"], c["message"]) for c in hpa["status"]["conditions"]
    }
    assert condition(decision, "AbleToScale") == recorded["AbleToScale"]
    assert condition(decision, "ScalingLimited") == recorded["ScalingLimited"]
    status, reason, message = recorded["ScalingActive"]
    ours = condition(decision, "ScalingActive")
    assert ours[:2] == (status, reason)
    # The controller prints the selector as a Go value; before that, the text is the same.
    assert ours[2].partition("(")[0] == message.partition("(")[0]


def test_a_value_is_multiplied_by_the_ready_pods_only() -> None:
    """Of 4 replicas 2 are ready: ceil(2 x 150 / 75) = 4, where 4 x 150 / 75 would be 8."""
    assert at_once(VALUE, scale_of(4, 4, 2), 150_000).replicas == 4


def test_all_items_are_summed() -> None:
    """Two items of 75 count as 150, which is why a mean must be one item."""
    assert at_once(VALUE, all_ready(2), 75_000, 75_000).replicas == 4


def test_an_average_value_divides_the_sum_by_the_target() -> None:
    """ceil(300 / 75) = 4, and the status shows the value of each pod."""
    decision = at_once(AVERAGE, all_ready(2), 300_000)
    assert decision.replicas == 4
    assert decision.current == (150_000,)


def test_a_mean_under_average_value_shrinks_the_workload() -> None:
    """The wrong pairing gives ceil(91 / 75) = 2, however many pods there are."""
    now = structs.replace(AVERAGE, stabilization_window=0)
    assert at_once(now, all_ready(8), 91_000).replicas == 2


def test_both_ends_of_the_tolerance_change_nothing() -> None:
    """From 0.9 to 1.1 of the target the replicas stay; just outside they move."""
    now = structs.replace(
        VALUE,
        metrics=(structs.replace(METRIC, target=100_000),),
        max_replicas=20,
        stabilization_window=0,
    )
    replicas = {
        usage: at_once(now, all_ready(10), usage).replicas
        for usage in (89_999, 90_000, 110_000, 110_001)
    }
    assert replicas == {89_999: 9, 90_000: 10, 110_000: 10, 110_001: 12}


def test_average_value_compares_with_the_pods_that_there_are() -> None:
    """With 10 pods and a target of 75 for each, sums from 675 to 825 change nothing."""
    now = structs.replace(AVERAGE, max_replicas=20, stabilization_window=0)
    replicas = {
        usage: at_once(now, all_ready(10), usage).replicas
        for usage in (674_999, 675_000, 825_000, 825_001)
    }
    assert replicas == {674_999: 9, 675_000: 10, 825_000: 10, 825_001: 12}


def test_scaling_up_is_limited_to_the_larger_of_double_and_four_more() -> None:
    """From 1 to 5 at most, from 6 to 12 at most, in the 15 seconds of the policies."""
    wide = structs.replace(VALUE, max_replicas=100)
    one = at_once(wide, all_ready(1), 7_500_000)
    assert one.replicas == 5
    assert condition(one, "ScalingLimited")[:2] == ("True", "ScaleUpLimit")
    assert at_once(wide, all_ready(6), 750_000).replicas == 12

    soon = decide(wide, all_ready(5), (items(7_500_000),), one.history, 14.9)
    assert soon.replicas == 5, "the four pods of this period are used up"
    later = decide(wide, all_ready(5), (items(7_500_000),), one.history, 15)
    assert later.replicas == 10


def test_scaling_down_waits_for_the_stabilization_window() -> None:
    """The highest recommendation of the last 300 s holds; then it drops at once."""
    decision = at_once(VALUE, all_ready(8), 75_000)
    assert decision.replicas == 8

    held = decide(VALUE, all_ready(8), (items(15_000),), decision.history, 299)
    assert held.replicas == 8
    assert condition(held, "AbleToScale")[1] == "ScaleDownStabilized"
    assert "held at 8" in held.reason

    dropped = decide(VALUE, all_ready(8), (items(15_000),), held.history, 300)
    assert dropped.replicas == 2


def test_a_peak_is_remembered_for_the_window() -> None:
    """A recommendation holds for 300 s, even if others follow."""
    peak = decide(VALUE, all_ready(4), (items(150_000),), History(((0, 4),)), 10)
    assert peak.replicas == 8
    low = decide(VALUE, all_ready(8), (items(15_000),), peak.history, 309)
    assert low.replicas == 8
    assert decide(VALUE, all_ready(8), (items(15_000),), low.history, 310).replicas == 2


def test_a_controller_that_has_just_started_does_not_scale_down() -> None:
    """It uses the current replicas as its first recommendation."""
    assert at_once(VALUE, all_ready(8), 15_000).replicas == 8


def test_the_window_can_be_chosen() -> None:
    """With a window of 0, it scales down at once."""
    now = structs.replace(VALUE, stabilization_window=0)
    assert at_once(now, all_ready(8), 15_000).replicas == 2


def test_the_bounds_hold() -> None:
    """Both apply to any metric, and before it is read."""
    now = structs.replace(VALUE, min_replicas=2, max_replicas=6, stabilization_window=0)
    low = at_once(now, all_ready(4), 0)
    assert low.replicas == 2
    assert condition(low, "ScalingLimited")[:2] == ("True", "TooFewReplicas")
    unavailable = MetricUnavailable("no")
    assert decide(now, all_ready(9), (unavailable,), History(), 0).replicas == 6
    assert decide(now, all_ready(1), (unavailable,), History(), 0).replicas == 2


def test_a_change_of_the_replicas_is_a_condition() -> None:
    """Whether by the metric or a bound; otherwise the condition says that the scale was read."""
    for decision, replicas in (
        (at_once(VALUE, all_ready(2), 150_000), 4),
        (at_once(VALUE, all_ready(20), 75_000), 10),
    ):
        message = f"the HPA controller was able to update the target scale to {replicas}"
        assert condition(decision, "AbleToScale") == ("True", "SucceededRescale", message)
    for unchanged in (
        at_once(VALUE, all_ready(0), 75_000),
        decide(VALUE, all_ready(2), (MetricUnavailable("no"),), History(), 0),
    ):
        assert condition(unchanged, "AbleToScale") == (
            "True",
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        )


def test_a_workload_scaled_to_zero_is_left_alone() -> None:
    """Zero replicas with a minimum above zero mean that autoscaling is off."""
    decision = at_once(VALUE, all_ready(0), 500_000)
    assert decision.replicas == 0
    assert condition(decision, "ScalingActive")[1] == "ScalingDisabled"


def test_an_error_keeps_the_replicas_and_its_words() -> None:
    """The Status message is at the end of the condition, word for word."""
    said = "3 of 4 pods have no sample: exporter http://10.0.0.7:9400/metrics timed out"
    history = History(((0.0, 4),), ((0.0, 2),))
    decision = decide(VALUE, all_ready(4), (MetricUnavailable(said),), history, 20)
    status, reason, message = condition(decision, "ScalingActive")
    assert decision.replicas == 4
    assert decision.current == (None,)
    assert (status, reason) == ("False", "FailedGetExternalMetric")
    assert message.endswith(f"unable to fetch metrics from external metrics API: {said}")
    assert decision.history == history, "an error is no recommendation"


def test_an_empty_list_is_an_error() -> None:
    """No items keep the replicas, and do not count as zero."""
    decision = at_once(VALUE, all_ready(4))
    assert decision.replicas == 4
    assert condition(decision, "ScalingActive")[2].endswith(
        "no metrics returned from external metrics API"
    )


def test_the_reason_shows_the_arithmetic() -> None:
    """The numbers are in it."""
    reason = at_once(VALUE, all_ready(2), 91_000).reason
    assert reason == (
        "gpu_utilization is 91, above the target of 75: 2 ready pods x 91 / 75, rounded up, is 3"
    )


def test_a_milli_value_is_written_for_a_person() -> None:
    """Integers are printed as such, others in thousandths."""
    assert [quantity(91_000), quantity(37_500), quantity(0)] == ["91", "37500m", "0"]


@given(
    autoscaler=st.builds(
        lambda hpa, target: structs.replace(
            hpa, metrics=(structs.replace(hpa.metrics[0], target=target),), max_replicas=20
        ),
        st.sampled_from([VALUE, AVERAGE]),
        st.integers(1, 10**6),
    ),
    replicas=st.integers(1, 30),
    syncs=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 30)), min_size=1, max_size=5),
)
def test_the_replicas_stay_within_the_bounds(
    autoscaler: HorizontalPodAutoscaler, replicas: int, syncs: list[tuple[int, int]]
) -> None:
    """At every sync, whatever is measured, and however many pods are ready."""
    history = History()
    for number, (usage, ready) in enumerate(syncs):
        scale = scale_of(replicas, replicas, min(ready, replicas))
        decision = decide(autoscaler, scale, (items(usage),), history, 15.0 * number)
        replicas, history = decision.replicas, decision.history
        assert 1 <= replicas <= 20
