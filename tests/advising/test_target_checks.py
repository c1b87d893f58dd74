"""Problems with an HPA's target, and the size of messages."""

import re
from math import ceil

import pytest
import yaml

from metrics_server.advising.checks import check
from metrics_server.kube.events import MAX_MESSAGE_BYTES
from metrics_server.measuring.fallback import Simulated
from metrics_server.simulator.kube.objects import Json
from tests.advising.manifests import ROOT, decode, hpa, hpas_of, pods, setup
from tests.support.hpa_metrics import (
    AVERAGE,
    LOW,
    OWN,
    SIMULATING,
    external,
    object_metric,
    reasons,
)
from tests.support.simulation import Simulation


@pytest.mark.parametrize(
    ("name", "has_sum"), [("gpu_utilization", True), ("llm_time_to_first_token_p95", False)]
)
def test_only_a_sum_that_there_is_is_suggested(name: str, has_sum: bool) -> None:  # noqa: FBT001
    """A quantile has none."""
    metrics = external(name, target='target: {type: AverageValue, averageValue: "2"}')
    (found,) = check(hpa(metrics), OWN, setup())
    assert found.reason == "MeanUnderAverageValue"
    assert (f"{name}_sum" in found.message) is has_sum


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("40", "SimulationScalesUp"),
        ("54", "SimulationScalesUp"),
        ("54500m", "SimulationScalesUp"),
        # Within the tolerance of some value.
        ("55", None),
        ("60", None),
        ("70", None),
        ("95", None),
        ("100", None),
        ("0", None),
        ("many", None),
    ],
)
def test_targets_that_a_simulated_value_is_always_above(amount: str, expected: str | None) -> None:
    """For a mean and a sum alike."""
    for metrics in (
        external(target=f'target: {{type: Value, value: "{amount}"}}'),
        external(
            "gpu_utilization_sum",
            target=f'target: {{type: AverageValue, averageValue: "{amount}"}}',
        ),
    ):
        found = check(hpa(metrics), OWN, SIMULATING)
        assert reasons(found) == ([expected] if expected else [])
        assert ("type: Pods, which" in "".join(one.message for one in found)) is bool(expected)
        each = "to 90 for each pod once" in "".join(one.message for one in found)
        assert each is (expected is not None and "_sum" in metrics)
        assert check(hpa(metrics), OWN, setup()) == ()
        # There is no room to scale.
        assert check(hpa(metrics, minReplicas=3, maxReplicas=3), OWN, SIMULATING) == ()


@pytest.mark.parametrize(
    "metrics",
    [
        # Not a percentage: never simulated.
        external("gpu_power_usage", target=LOW),
        external("DCGM_FI_PROF_SM_ACTIVE", target='target: {type: Value, value: "400m"}'),
        # One value per pod, or none.
        '- {type: Pods, pods: {metric: {name: gpu_utilization}, target: {averageValue: "40"}}}',
        # It has no labels to mark it.
        object_metric(target=LOW),
    ],
)
def test_what_is_never_simulated(metrics: str) -> None:
    """No finding if no value is simulated, or its effect is unknown."""
    assert check(hpa(metrics), OWN, SIMULATING) == ()


def test_a_low_target_of_own_pods_and_others() -> None:
    """The effect of simulation then depends on both; unmeasured pods do not count."""
    others = pods("Deployment/other", {"app": "inference"})
    found = check(hpa(external(target=LOW)), (*OWN, *others), SIMULATING)
    assert reasons(found) == ["SelectorMatchesOtherWorkloads"]
    beside = pods("Deployment/web", {"app": "inference"}, gpus=0)
    found = check(hpa(external(target=LOW)), (*OWN, *beside), SIMULATING)
    assert reasons(found) == ["SimulationScalesUp"]


def test_a_simulated_value_that_is_always_below_the_target() -> None:
    """A custom range can be this low."""
    config = setup(fallback=("simulated",), simulated=Simulated(20, 10))
    (found,) = check(hpa(external()), OWN, config)
    assert found.reason == "SimulationScalesDown"
    assert "simulated value from 20 to 30 while its pods cannot be measured" in found.message
    assert "no less than ceil(replicas x 20 / 70)" in found.message


def test_a_simulated_value_of_other_pods_runs_away() -> None:
    """The HPA's scaling does not affect it."""
    frontend = (*OWN, *pods("Deployment/frontend", gpus=0))
    asking = hpa(external(), target="Deployment/frontend")
    (found,) = check(asking, frontend, SIMULATING)
    assert found.reason == "SimulationRunsAway"
    assert "once its pods cannot be measured for 60 s" in found.message
    # ceil(value / target) does not depend on the replicas; a sum is not simulated in a range.
    for metrics in (
        external(target=AVERAGE),
        external("gpu_utilization_sum", target=AVERAGE),
        external("gpu_utilization_sum"),
    ):
        assert check(hpa(metrics, target="Deployment/frontend"), frontend, SIMULATING) == ()


@pytest.mark.parametrize("target", [20, 40, 50, 54])
@pytest.mark.parametrize("replicas", [1, 4, 10])
async def test_an_outage_does_what_the_finding_says(target: int, replicas: int) -> None:
    """With the real fallback and the HPA's arithmetic: up, once, and no more than it says."""
    metrics = external(target=f'target: {{type: Value, value: "{target}"}}')
    (found,) = check(hpa(metrics), OWN, SIMULATING)
    assert f"at most ceil(replicas x 90 / {target})" in found.message
    rule_of_it = SIMULATING.names.find("gpu_utilization")
    assert rule_of_it is not None
    work = target * replicas
    async with Simulation(
        rule_of_it, target=target, replicas=replicas, work=work, most=100
    ) as outage:
        await outage.run(60)
        assert set(outage.series) == {replicas}
        outage.exporters_fail = True
        await outage.run(1200)
    assert replicas < outage.series[-1] <= ceil(replicas * 90 / target)
    assert outage.series == sorted(outage.series)


def manifests() -> list[tuple[str, dict[str, Json]]]:
    """Every HPA in the guide and the example."""
    guide = (ROOT / "docs" / "hpa.md").read_text(encoding="utf-8")
    texts = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    texts += [(ROOT / "deployments" / "hpa-example.yaml").read_text(encoding="utf-8")]
    found = [one for text in texts for one in hpas_of(text)]
    assert len(found) > 6
    return [(yaml.safe_dump(one), one) for one in found]


@pytest.mark.parametrize("document", [one for _, one in manifests()])
def test_the_examples_of_the_guide_work(document: dict[str, Json]) -> None:
    """None has a finding, except as the guide says about low targets with the default fallback."""
    status: Json = {"currentReplicas": 3}
    asking = decode({**document, "status": status})
    for metric in asking.metrics:
        labels = {one.key: one.values[0] for one in metric.selector.requirements}
        own = pods(asking.target, labels or None)
        other = pods("Deployment/elsewhere", {"app": "elsewhere"})
        assert check(asking, (*own, *other), setup()) == ()
        low = {one.reason for one in check(asking, (*own, *other), SIMULATING)}
        assert low <= {"SimulationScalesUp"}


LONG = "x" * 253


def test_messages_fit_into_an_event() -> None:
    """Whatever the HPA contains, the advice is never cut off."""
    values = ", ".join(f"{n}{'y' * 60}" for n in range(60))
    selector = (
        f"selector: {{matchExpressions: [{{key: Hostname, operator: In, values: [{values}]}}]}}"
    )
    average = f'target: {{type: AverageValue, averageValue: "{"9" * 200}"}}'
    for metrics in (
        external(f"gpu_utilization_su{LONG}", selector),
        external("gpu_utilization", selector, average),
        object_metric(target=f'target: {{type: {LONG}, averageValue: "{"9" * 200}"}}'),
        external("DCGM_FI_DEV_" + "X" * 200 + "_TOTAL"),
    ):
        long = hpa(metrics, target=f"{LONG}/{LONG}")
        found = check(long, (*OWN, *pods(f"{LONG}/{LONG}")), SIMULATING)
        assert all(len(one.message.encode()) <= MAX_MESSAGE_BYTES for one in found)
