"""Keys under series/ in an HPA's selector are not pod labels."""

import pytest

from metrics_server.advising.checks import check
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.kube.series_selectors import split
from tests.advising.manifests import hpa, pods, setup
from tests.support.hpa_metrics import (
    LOW,
    OWN,
    SIMULATING,
    external,
    object_metric,
    pods_metric,
    reasons,
)

MODEL = "selector: {matchLabels: {series/model_name: a}}"


@pytest.mark.parametrize(
    ("metrics", "others", "expected"),
    [
        (external(selector=MODEL), (), []),
        (pods_metric(selector=MODEL), (), []),
        (object_metric(selector=MODEL), (), []),
        (
            external(
                selector="selector: {matchExpressions: "
                "[{key: series/gpu, operator: NotIn, values: [a, b]}]}"
            ),
            (),
            [],
        ),
        # The pods of others may have no such rows.
        (external(selector=MODEL), pods("Deployment/other"), []),
        # Its requirements for pods are checked as usual.
        (
            external(selector="selector: {matchLabels: {app: typo, series/model_name: a}}"),
            (),
            ["SelectorMatchesNoPods"],
        ),
        (
            pods_metric(selector="selector: {matchLabels: {tier: a, series/model_name: a}}"),
            pods("Deployment/inference", {"tier": "a"}),
            ["SelectorOfPodsMetric"],
        ),
    ],
)
def test_checks(metrics: str, others: tuple[Pod, ...], expected: list[str]) -> None:
    """They apply to the rest of the selector."""
    found = check(hpa(metrics), (*OWN, *others), setup())
    assert reasons(found) == expected
    assert not any("series/" in one.message for one in found)


def test_no_value_is_simulated() -> None:
    """So a target that a simulated value would exceed does not matter."""
    assert reasons(check(hpa(external(target=LOW)), OWN, SIMULATING))
    assert check(hpa(external(selector=MODEL, target=LOW)), OWN, SIMULATING) == ()


def test_the_record_of_an_hpa() -> None:
    """Both parts of the selector are kept, and matter."""
    plain = hpa(external())
    made = hpa(external(selector="selector: {matchLabels: {app: inference, series/m: a}}"))
    (metric,) = made.metrics
    assert (metric.selector, metric.series) == split(parse_selector("app=inference,series/m=a"))
    assert made.bytes > plain.bytes
