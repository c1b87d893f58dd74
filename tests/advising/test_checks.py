"""HPAs and what is wrong with them."""

import re
from collections.abc import Sequence
from math import ceil

import pytest
import yaml

from metrics_server.advising.checks import check
from metrics_server.advising.findings import Finding, Setup
from metrics_server.kube.events import MAX_MESSAGE_BYTES
from metrics_server.kube.pods import Pod
from metrics_server.measuring.fallback import Simulated
from metrics_server.simulator.kube.objects import Json
from tests.advising.manifests import ROOT, decode, hpa, hpas_of, pods, rule, setup
from tests.support.simulation import Simulation

SELECTOR = "selector: {matchLabels: {app: inference}}"
VALUE = 'target: {type: Value, value: "70"}'
AVERAGE = 'target: {type: AverageValue, averageValue: "70"}'
LOW = 'target: {type: Value, value: "40"}'
OWN = pods()
SIMULATING = setup(fallback=("last-known", "simulated"))


def external(name: str = "gpu_utilization", selector: str = SELECTOR, target: str = VALUE) -> str:
    """An External metric."""
    return f"- {{type: External, external: {{metric: {{name: {name}, {selector}}}, {target}}}}}"


def pods_metric(name: str = "gpu_utilization", selector: str = "") -> str:
    """A Pods metric."""
    return f"- {{type: Pods, pods: {{metric: {{name: {name}, {selector}}}, {AVERAGE}}}}}"


def object_metric(
    name: str = "gpu_utilization",
    target: str = VALUE,
    described: str = "{apiVersion: apps/v1, kind: Deployment, name: inference}",
    selector: str = "",
) -> str:
    """An Object metric."""
    return (
        f"- {{type: Object, object: {{describedObject: {described}, "
        f"metric: {{name: {name}, {selector}}}, {target}}}}}"
    )


def reasons(findings: Sequence[Finding]) -> list[str]:
    """The reasons of findings."""
    return [one.reason for one in findings]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (external(), []),
        (external("GPU_Utilization"), []),
        (external("gpu_utilization_max"), []),
        (external("gpu_utilization_sum", target=AVERAGE), []),
        (external("DCGM_FI_PROF_SM_ACTIVE"), []),
        (external("DCGM_FI_PROF_SM_ACTIVE_sum", target=AVERAGE), []),
        (pods_metric(), []),
        (pods_metric("DCGM_FI_DEV_GPU_UTIL"), []),
        (object_metric(), []),
        (object_metric("gpu_utilization_sum", AVERAGE), []),
        (external(target=AVERAGE), ["MeanUnderAverageValue"]),
        (external("gpu_utilization_max", target=AVERAGE), ["MeanUnderAverageValue"]),
        (external("DCGM_FI_DEV_GPU_UTIL", target=AVERAGE), ["MeanUnderAverageValue"]),
        # External metrics: by the field.
        (
            external(target='target: {type: Value, averageValue: "70"}'),
            ["MeanUnderAverageValue"],
        ),
        (external(target='target: {type: AverageValue, value: "70"}'), []),
        (external("gpu_utilization_sum"), ["SumUnderValue"]),
        # Object metrics: by the type, and the other field is not read.
        (object_metric(target=AVERAGE), ["MeanUnderAverageValue"]),
        (object_metric("gpu_utilization_sum"), ["SumUnderValue"]),
        (
            object_metric(target='target: {type: Value, averageValue: "70"}'),
            ["TargetTypeMismatch"],
        ),
        (
            object_metric(target='target: {type: AverageValue, value: "70"}'),
            ["TargetTypeMismatch"],
        ),
        # Of a Service, whose pods may be anybody's, as they mostly are the HPA's own.
        (
            object_metric(
                target=AVERAGE, described="{apiVersion: v1, kind: Service, name: inference}"
            ),
            ["MeanUnderAverageValue"],
        ),
        # One replica for each 70 % of another Deployment: why not.
        (
            object_metric(
                target=AVERAGE, described="{apiVersion: apps/v1, kind: Deployment, name: other}"
            ),
            [],
        ),
        (external("gpu_utilisation"), ["MetricNameUnknown"]),
        (external("gpu-utilization"), ["MetricNameUnknown"]),
        (external("gpu_utilization_avg"), ["MetricNameUnknown"]),
        (pods_metric("DCGM_FI_DEV_GPU_UTILS"), ["MetricNameUnknown"]),
        (object_metric("gpu_memory_usage"), ["MetricNameUnknown"]),
        # Metrics of others.
        (external("cpu_utilization"), []),
        (external("s0-prometheus-gpu_utilization"), []),
        (external("gpu_requests_per_second"), []),
        (external("kubernetes.io|container|accelerator|duty_cycle"), []),
        (pods_metric("http_requests"), []),
        (external('""'), []),
        ("- {type: Resource, resource: {name: cpu, target: {type: Utilization}}}", []),
        (
            external("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"),
            ["MetricIsCounter"],
        ),
        (pods_metric("DCGM_FI_DEV_XID_ERRORS_TOTAL"), ["MetricIsCounter"]),
        # Several metrics, each by itself.
        (
            external(target=AVERAGE) + "\n" + external("gpu_utilization_sum"),
            ["MeanUnderAverageValue", "SumUnderValue"],
        ),
        (external(target=AVERAGE) + "\n" + external(target=AVERAGE), ["MeanUnderAverageValue"]),
    ],
)
def test_what_is_wrong_with_a_metric(metrics: str, expected: list[str]) -> None:
    """Names and types of targets; an HPA that works has no finding."""
    found = check(hpa(metrics), OWN, setup())
    assert reasons(found) == expected
    assert not any(one.passing for one in found)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ("External", ["MeanUnderAverageValue"]),
        ("Pods Object", ["SumUnderValue", "MetricNameUnknown"]),
        ("", []),
    ],
)
def test_metrics_of_an_api_that_is_off_are_somebody_elses(types: str, expected: list[str]) -> None:
    """KEDA may own the external metrics API, prometheus-adapter the custom one."""
    metrics = "\n".join(
        [
            external(target=AVERAGE),
            object_metric("gpu_utilization_sum"),
            pods_metric("gpu_utilisation"),
        ]
    )
    found = check(hpa(metrics), OWN, setup(types=types))
    assert reasons(found) == expected
    # Nor is it advised to use one.
    assert ("type: Pods" in "".join(one.message for one in found)) is ("Pods" in types)


@pytest.mark.parametrize("name", ["gpu_utilisation", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"])
def test_a_metric_that_the_hpa_can_read_is_somebody_elses(name: str) -> None:
    """The HPA's status shows its value, so that another server has a metric of that name."""
    source: dict[str, Json] = {"metric": {"name": name}, "current": {"averageValue": "3"}}
    for kind, expected in (("Pods", 0), ("Object", 1)):
        current: list[Json] = [{"type": ""}, {"type": kind, kind.lower(): source}]
        read = hpa(pods_metric(name), status={"currentReplicas": 3, "currentMetrics": current})
        assert len(check(read, OWN, setup())) == expected


def rule_sum() -> Setup:
    """A sum of a user's own, whose name does not say so."""
    return setup(rule(name="gpu_load", overPods="sum"))


@pytest.mark.parametrize(
    ("metrics", "config", "words"),
    [
        (
            external(target=AVERAGE),
            setup(),
            (
                "External metric gpu_utilization is a mean over pods, but its target is an "
                "AverageValue. The HPA computes ceil(mean / target), whatever the number of pods: "
                "at the target itself, any number of pods becomes ceil(70 / 70) = 1, so the "
                'workload shrinks as it gets busy. Use target: {type: Value, value: "70"}, or the '
                "metric gpu_utilization_sum with this target, or a metric of type: Pods."
            ),
        ),
        (
            external(target='target: {type: Value, averageValue: "70"}'),
            setup(),
            "an AverageValue (by its field averageValue).",
        ),
        (
            external("gpu_utilization_max", target=AVERAGE),
            setup(types="External"),
            'is the maximum of the pods, but … Use target: {type: Value, value: "70"}.',
        ),
        (
            external("gpu_utilization_sum"),
            setup(),
            (
                "4 pods at 70 each become ceil(4 x 4 x 70 / 70) = 16, and so on up to maxReplicas. "
                'Use target: {type: AverageValue, averageValue: "70"}, or the metric without _sum, '
                "or a metric of type: Pods."
            ),
        ),
        (
            external("gpu_load"),
            setup(rule(name="gpu_load", overPods="sum"), types="External"),
            'Use target: {type: AverageValue, averageValue: "70"}.',
        ),
        (
            object_metric(target='target: {type: Value, averageValue: "70"}'),
            setup(),
            (
                "has a target of type: Value with the field averageValue. For Object metrics the "
                "HPA reads only the field of that type, which is not set, so it does not scale."
            ),
        ),
        (
            external("gpu_utilisation"),
            setup(),
            "there is no metric of that name, … The nearest names are gpu_utilization",
        ),
        (
            external("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"),
            setup(),
            (
                'External metric "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" is a counter: it only ever '
                "grows, and replicas scaled on it would only grow with it; ask for gpu_power_usage."
            ),
        ),
    ],
)
def test_messages_say_what_why_and_what_to_do(metrics: str, config: Setup, words: str) -> None:
    """They are for people who read `kubectl describe hpa`."""
    (found,) = check(hpa(metrics), OWN, config)
    assert re.search(re.escape(words).replace("…", ".*"), found.message), found.message


@pytest.mark.parametrize(
    ("metrics", "others", "expected"),
    [
        # No pod of the namespace has the label.
        (external(selector="selector: {matchLabels: {app: typo}}"), (), "SelectorMatchesNoPods"),
        (
            external(selector="selector: {matchLabels: {modelName: A100}}"),
            (),
            "SelectorOfSeriesLabels",
        ),
        (
            pods_metric(selector="selector: {matchLabels: {exported_pod: x}}"),
            (),
            "SelectorOfSeriesLabels",
        ),
        (
            object_metric(
                selector="selector: {matchExpressions: [{key: Hostname, operator: Exists}]}"
            ),
            (),
            "SelectorOfSeriesLabels",
        ),
        # Pods do have that label here.
        (
            external(selector="selector: {matchLabels: {job: train}}"),
            pods("Deployment/inference", {"job": "train"}),
            None,
        ),
        (
            external(
                selector="selector: {matchExpressions: [{key: UUID, operator: DoesNotExist}]}"
            ),
            (),
            None,
        ),
        # Only what a pod must have can be missing from all of them.
        (
            external(
                selector="selector: {matchLabels: {app: typo}, matchExpressions: "
                "[{key: UUID, operator: DoesNotExist}]}"
            ),
            (),
            "SelectorMatchesNoPods",
        ),
        # Pods without a GPU match, or pods that have finished: no error about the selector.
        (
            external(selector="selector: {matchLabels: {app: web}}"),
            pods("Deployment/web", gpus=0),
            None,
        ),
        (
            external(selector="selector: {matchLabels: {app: done}}"),
            pods("Job/done", phase="Succeeded"),
            None,
        ),
        # Pods of others too.
        (
            external(selector="selector: {matchExpressions: [{key: app, operator: Exists}]}"),
            pods("Deployment/other"),
            "SelectorMatchesOtherWorkloads",
        ),
        (external(selector=""), pods("StatefulSet/db"), "SelectorMatchesOtherWorkloads"),
        (external(selector="selector: {}"), pods("Job/t"), "SelectorMatchesOtherWorkloads"),
        (external(selector=""), (), None),
        # They are not measured, or about to go.
        (external(selector=""), pods("Deployment/web", gpus=0), None),
        (external(selector=""), pods("Deployment/old", terminating=True), None),
        (external(selector=""), pods("Job/done", phase="Failed"), None),
        # Nobody's, or of the same workload.
        (external(selector=""), pods(""), None),
        (external(selector=""), pods("Deployment/inference-canary"), None),
        (external(selector=""), pods("Deployment/inference-primary"), None),
        # Other pods alone: that is meant.
        (
            external(selector="selector: {matchLabels: {app: other}}"),
            pods("Deployment/other"),
            None,
        ),
        # A Pods metric asks for the workload's own pods.
        (pods_metric(), pods("Deployment/other"), None),
        (
            pods_metric(selector="selector: {matchLabels: {tier: a}}"),
            pods("Deployment/inference", {"tier": "a"}),
            "SelectorOfPodsMetric",
        ),
        (pods_metric(selector=SELECTOR), (), None),
        # An Object metric asks for what its object selects.
        (object_metric(), pods("Deployment/other"), None),
    ],
)
def test_what_is_wrong_with_a_selector(
    metrics: str, others: tuple[Pod, ...], expected: str | None
) -> None:
    """It is reported once it lasts: pods come and go."""
    found = check(hpa(metrics), (*OWN, *others), setup())
    assert reasons(found) == ([expected] if expected else [])
    assert all(one.passing for one in found)


@pytest.mark.parametrize("metrics", [external(selector="selector: {matchLabels: {app: typo}}")])
def test_no_pods_at_all_are_not_reported(metrics: str) -> None:
    """A workload at zero, and one whose HPA has not been looked at yet, have none."""
    for replicas in (0, None):
        asleep = hpa(metrics, status={"currentReplicas": replicas})
        assert check(asleep, pods("Deployment/other"), setup()) == ()
    assert check(hpa(metrics), (), setup()) == ()
    assert check(hpa(metrics), OWN, setup())


def test_a_selector_of_a_pods_metric_while_the_workload_has_no_pods() -> None:
    """Whether it leaves any out is not known before they are there."""
    narrowed = hpa(pods_metric(selector="selector: {matchLabels: {app: other}}"))
    others = pods("Deployment/other")
    assert check(narrowed, others, setup()) == ()
    assert reasons(check(narrowed, (*OWN, *others), setup())) == ["SelectorOfPodsMetric"]


def test_a_scale_target_whose_pods_are_not_known_by_name() -> None:
    """The pods of a LeaderWorkerSet belong to StatefulSets: nothing is said of whose they are."""
    groups = (*pods("StatefulSet/llm", {"lws": "llm"}), *pods("StatefulSet/llm-0", {"lws": "llm"}))
    target, selector = "LeaderWorkerSet/llm", "selector: {matchLabels: {lws: llm}}"
    assert check(hpa(external(selector=selector), target=target), groups, setup()) == ()
    assert check(hpa(external(selector=""), target=target), (*groups, *OWN), setup()) == ()
    wrong = hpa(external(selector=selector, target=AVERAGE), target=target)
    assert reasons(check(wrong, groups, setup())) == ["MeanUnderAverageValue"]
    narrowed = hpa(pods_metric(selector=selector), target=target)
    assert reasons(check(narrowed, groups, setup())) == ["SelectorOfPodsMetric"]
    assert check(hpa(pods_metric(), target=target), groups, setup()) == ()
    low = hpa(external(selector=selector, target=LOW), target=target)
    assert check(low, groups, SIMULATING) == ()


@pytest.mark.parametrize("name", ["gpu_utilization", "gpu_utilization_sum"])
@pytest.mark.parametrize("target", [VALUE, AVERAGE])
def test_a_metric_of_other_pods_may_have_either_type(name: str, target: str) -> None:
    """One frontend for each 70 % of the backend is no mistake: it has no say in the mean."""
    asking = hpa(external(name, target=target), target="Deployment/frontend")
    assert check(asking, (*OWN, *pods("Deployment/frontend", gpus=0)), setup()) == ()
    # As long as no pods match it might be.
    assert all(one.passing for one in check(asking, (), setup()))


def test_the_names_of_other_workloads_do_not_change_with_each_job() -> None:
    """The message stays the same, and so the event is not emitted again."""
    first, second = (
        check(hpa(external(selector="")), (*OWN, *pods(f"Job/nightly-{number}")), setup())
        for number in (29401440, 29402880)
    )
    assert first == second
    assert "those of Job nightly too" in first[0].message


def test_only_some_of_many_workloads_are_named() -> None:
    """The message stays short."""
    others = [pod for name in "edcb" for pod in pods(f"Deployment/{name}")]
    (found,) = check(hpa(external(selector="")), (*OWN, *others), setup())
    assert "those of Deployment b, Deployment c and others too" in found.message
    assert "has no selector" in found.message


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
    """Of a mean and of a sum alike."""
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
        # There is nowhere to scale to.
        assert check(hpa(metrics, minReplicas=3, maxReplicas=3), OWN, SIMULATING) == ()


@pytest.mark.parametrize(
    "metrics",
    [
        # Not a percentage: never simulated.
        external("gpu_power_usage", target=LOW),
        external("DCGM_FI_PROF_SM_ACTIVE", target='target: {type: Value, value: "400m"}'),
        # One value for each pod, or none.
        '- {type: Pods, pods: {metric: {name: gpu_utilization}, target: {averageValue: "40"}}}',
        # It has no labels that would mark it.
        object_metric(target=LOW),
    ],
)
def test_what_is_never_simulated(metrics: str) -> None:
    """No finding where no simulated value comes, or what it does is not known."""
    assert check(hpa(metrics), OWN, SIMULATING) == ()


def test_a_low_target_of_own_pods_and_others() -> None:
    """What the simulation does then depends on both; pods that are not measured do not count."""
    others = pods("Deployment/other", {"app": "inference"})
    found = check(hpa(external(target=LOW)), (*OWN, *others), SIMULATING)
    assert reasons(found) == ["SelectorMatchesOtherWorkloads"]
    beside = pods("Deployment/web", {"app": "inference"}, gpus=0)
    found = check(hpa(external(target=LOW)), (*OWN, *beside), SIMULATING)
    assert reasons(found) == ["SimulationScalesUp"]


def test_a_simulated_value_that_is_always_below_the_target() -> None:
    """A range of one's own can be so low."""
    config = setup(fallback=("simulated",), simulated=Simulated(20, 10))
    (found,) = check(hpa(external()), OWN, config)
    assert found.reason == "SimulationScalesDown"
    assert "simulated value from 20 to 30 while its pods cannot be measured" in found.message
    assert "no less than ceil(replicas x 20 / 70)" in found.message


def test_a_simulated_value_of_other_pods_runs_away() -> None:
    """The HPA changes nothing about it by scaling."""
    frontend = (*OWN, *pods("Deployment/frontend", gpus=0))
    asking = hpa(external(), target="Deployment/frontend")
    (found,) = check(asking, frontend, SIMULATING)
    assert found.reason == "SimulationRunsAway"
    assert "once its pods cannot be measured for 60 s" in found.message
    # ceil(value / target) does not depend on the replicas; and a sum is not simulated in a range.
    for metrics in (
        external(target=AVERAGE),
        external("gpu_utilization_sum", target=AVERAGE),
        external("gpu_utilization_sum"),
    ):
        assert check(hpa(metrics, target="Deployment/frontend"), frontend, SIMULATING) == ()


@pytest.mark.parametrize("target", [20, 40, 50, 54])
@pytest.mark.parametrize("replicas", [1, 4, 10])
async def test_an_outage_does_what_the_finding_says(target: int, replicas: int) -> None:
    """The real fallback and the HPA's arithmetic: up, once, by no more than it says."""
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
    """Every HPA that the guide and the example show."""
    guide = (ROOT / "docs" / "hpa.md").read_text(encoding="utf-8")
    texts = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    texts += [(ROOT / "deployments" / "hpa-example.yaml").read_text(encoding="utf-8")]
    found = [one for text in texts for one in hpas_of(text)]
    assert len(found) > 6
    return [(yaml.safe_dump(one), one) for one in found]


@pytest.mark.parametrize("document", [one for _, one in manifests()])
def test_the_examples_of_the_guide_work(document: dict[str, Json]) -> None:
    """None has a finding, but for what the guide says of low targets with the default fallback."""
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
    """Whatever the HPA has in it, nothing of the advice is cut off."""
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
