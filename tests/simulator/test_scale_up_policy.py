"""A behavior.scaleUp policy: in the arithmetic, and in the object that kubectl shows."""

import pytest
from msgspec import structs

from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    ExternalMetric,
    History,
    HorizontalPodAutoscaler,
    Item,
    Scale,
    ScaledPod,
)

HPA = HorizontalPodAutoscaler(
    namespace="default",
    metrics=(ExternalMetric("gpu_utilization", "app=inference", "Value", 10_000),),
    max_replicas=50,
)
BUSY = (Item(100_000),)


def pods(count: int) -> Scale:
    """A scale with this many pods."""
    return Scale(count, count, tuple(ScaledPod(f"pod-{n}") for n in range(count)))


@pytest.mark.parametrize(("policy", "most"), [(None, 6), (1, 3), (2, 4), (8, 10)])
def test_it_limits_what_is_added_in_15_s(policy: int | None, most: int) -> None:
    """By default the larger of 4 pods and 100 %; a pods policy replaces both."""
    hpa = structs.replace(HPA, scale_up_pods=policy)
    first = decide(hpa, pods(2), (BUSY,), History(), now=0)
    assert first.replicas == most
    assert f"limited to {most}: " in first.reason
    again = decide(hpa, pods(most), (BUSY,), first.history, now=14)
    assert again.replicas == most
    later = decide(hpa, pods(most), (BUSY,), again.history, now=15)
    assert later.replicas == (2 * most if policy is None else most + policy)


@pytest.mark.parametrize("policy", [None, 3])
def test_kubectl_shows_it(policy: int | None) -> None:
    """As the only scaleUp policy; without one, scaleUp keeps its default."""
    hpa = structs.replace(HPA, scale_up_pods=policy)
    spec = manifests.horizontal_pod_autoscaler(hpa, 2, None)["spec"]
    assert isinstance(spec, dict)
    behavior: dict[str, object] = {"scaleDown": {"stabilizationWindowSeconds": 300}}
    if policy is not None:
        only = {"type": "Pods", "value": policy, "periodSeconds": 15}
        behavior["scaleUp"] = {"policies": [only]}
    assert spec["behavior"] == behavior
