"""HPAs whose metric is a PromQL query, which may or may not be about the selected pods."""

import pytest

from metrics_server.advising.checks import check
from tests.advising.manifests import hpa, pods, query, setup
from tests.support.hpa_metrics import AVERAGE, OWN, external, reasons

QUEUE = 'sum(rabbitmq_queue_messages_ready{queue="work"})'
OF_NAMESPACE = "sum(queue_length{namespace=<<.Namespace>>})"
OF_PODS = "sum(requests{namespace=<<.Namespace>>,pod=~<<.Pods>>})"
MATCHED = "sum(requests{<<.LabelMatchers>>})"
OTHERS = pods("Deployment/other")


@pytest.mark.parametrize("text", [QUEUE, OF_NAMESPACE])
@pytest.mark.parametrize("aggregation", ["avg", "sum"])
@pytest.mark.parametrize("target", ["target: {type: Value, value: '9'}", AVERAGE])
def test_what_does_not_depend_on_the_pods(text: str, aggregation: str, target: str) -> None:
    """Other workloads' load and the number of pods do not in themselves change the value."""
    config = setup(query(text, overPods=aggregation))
    metrics = external("queue_length", selector="", target=target)
    assert check(hpa(metrics), (*OWN, *OTHERS), config) == ()


@pytest.mark.parametrize("text", [OF_PODS, MATCHED])
def test_what_is_of_the_selected_pods(text: str) -> None:
    """It is judged like any other metric."""
    config = setup(query(text))
    metrics = external("queue_length", selector="", target=AVERAGE)
    assert reasons(check(hpa(metrics), (*OWN, *OTHERS), config)) == [
        "MeanUnderAverageValue",
        "SelectorMatchesOtherWorkloads",
    ]


def test_what_has_a_value_for_each_pod() -> None:
    """By its label with the pod's name."""
    text = "sum by (pod) (requests{namespace=<<.Namespace>>})"
    config = setup(query(text, podLabel="pod", overPods="sum"))
    found = check(hpa(external("queue_length", selector="", target=AVERAGE)), OWN + OTHERS, config)
    assert reasons(found) == ["SelectorMatchesOtherWorkloads"]


def test_a_selector_that_matches_no_pods() -> None:
    """Without pods there is no value, whatever it depends on."""
    typo = external("queue_length", selector="selector: {matchLabels: {app: typo}}")
    found = check(hpa(typo), OWN, setup(query(QUEUE)))
    assert reasons(found) == ["SelectorMatchesNoPods"]
