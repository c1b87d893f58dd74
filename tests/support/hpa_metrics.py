"""Metrics of HPAs, and the reasons of their findings."""

from collections.abc import Sequence

from metrics_server.advising.findings import Finding
from tests.advising.manifests import pods, setup

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
