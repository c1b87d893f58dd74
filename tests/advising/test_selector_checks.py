"""Problems with an HPA's selector."""

import pytest

from metrics_server.advising.checks import check
from metrics_server.kube.pods import Pod
from tests.advising.manifests import hpa, pods, setup
from tests.support.hpa_metrics import (
    AVERAGE,
    LOW,
    OWN,
    SELECTOR,
    SIMULATING,
    VALUE,
    external,
    object_metric,
    pods_metric,
    reasons,
)


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
        # Pods here do have that label.
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
        # Only a label that every pod must have can be missing.
        (
            external(
                selector="selector: {matchLabels: {app: typo}, matchExpressions: "
                "[{key: UUID, operator: DoesNotExist}]}"
            ),
            (),
            "SelectorMatchesNoPods",
        ),
        # Pods without a GPU match, or finished pods: the selector is not wrong.
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
        # Other workloads' pods too.
        (
            external(selector="selector: {matchExpressions: [{key: app, operator: Exists}]}"),
            pods("Deployment/other"),
            "SelectorMatchesOtherWorkloads",
        ),
        (external(selector=""), pods("StatefulSet/db"), "SelectorMatchesOtherWorkloads"),
        (external(selector="selector: {}"), pods("Job/t"), "SelectorMatchesOtherWorkloads"),
        (external(selector=""), (), None),
        # They are not measured, or are about to go.
        (external(selector=""), pods("Deployment/web", gpus=0), None),
        (external(selector=""), pods("Deployment/old", terminating=True), None),
        (external(selector=""), pods("Job/done", phase="Failed"), None),
        # Without an owner, or of the same workload.
        (external(selector=""), pods(""), None),
        (external(selector=""), pods("Deployment/inference-canary"), None),
        (external(selector=""), pods("Deployment/inference-primary"), None),
        # Only other pods: this is deliberate.
        (
            external(selector="selector: {matchLabels: {app: other}}"),
            pods("Deployment/other"),
            None,
        ),
        # A Pods metric is for the workload's own pods.
        (pods_metric(), pods("Deployment/other"), None),
        (
            pods_metric(selector="selector: {matchLabels: {tier: a}}"),
            pods("Deployment/inference", {"tier": "a"}),
            "SelectorOfPodsMetric",
        ),
        (pods_metric(selector=SELECTOR), (), None),
        # An Object metric is for what its object selects.
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
    """A workload at zero, or whose HPA was never synced, has none."""
    for replicas in (0, None):
        asleep = hpa(metrics, status={"currentReplicas": replicas})
        assert check(asleep, pods("Deployment/other"), setup()) == ()
    assert check(hpa(metrics), (), setup()) == ()
    assert check(hpa(metrics), OWN, setup())


def test_a_selector_of_a_pods_metric_while_the_workload_has_no_pods() -> None:
    """Whether it excludes any is unknown until they exist."""
    narrowed = hpa(pods_metric(selector="selector: {matchLabels: {app: other}}"))
    others = pods("Deployment/other")
    assert check(narrowed, others, setup()) == ()
    assert reasons(check(narrowed, (*OWN, *others), setup())) == ["SelectorOfPodsMetric"]


def test_a_scale_target_whose_pods_are_not_known_by_name() -> None:
    """The pods of a LeaderWorkerSet belong to StatefulSets: no finding is about their owner."""
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
    """One frontend per 70 % of the backend is valid: it does not affect the mean."""
    asking = hpa(external(name, target=target), target="Deployment/frontend")
    assert check(asking, (*OWN, *pods("Deployment/frontend", gpus=0)), setup()) == ()
    # While no pods match, it might be a mistake.
    assert all(one.passing for one in check(asking, (), setup()))


def test_a_service_of_other_pods_is_no_mistake() -> None:
    """A gateway without a GPU may scale on the GPUs behind a Service, under either type."""
    service = object_metric(
        target=AVERAGE, described="{apiVersion: v1, kind: Service, name: inference}"
    )
    gateway = pods("Deployment/gateway", gpus=0)
    assert check(hpa(service, target="Deployment/gateway"), (*OWN, *gateway), setup()) == ()
    # For a target with GPUs, it may be its own Service.
    assert reasons(check(hpa(service), OWN, setup())) == ["MeanUnderAverageValue"]


def test_the_names_of_other_workloads_do_not_change_with_each_job() -> None:
    """The message stays the same, so the event is not emitted again."""
    first, second, third = (
        check(hpa(external(selector="")), (*OWN, *pods(f"Job/{name}")), setup())
        for name in ("nightly-29401440", "nightly-29402880", "train-x7k2p")
    )
    assert first == second == third
    assert "those of Jobs too" in first[0].message


def test_only_some_of_many_workloads_are_named() -> None:
    """The message stays short."""
    others = [pod for name in "edcb" for pod in pods(f"Deployment/{name}")]
    (found,) = check(hpa(external(selector="")), (*OWN, *others), setup())
    assert "those of Deployment b, Deployment c and others too" in found.message
    assert "has no selector" in found.message
