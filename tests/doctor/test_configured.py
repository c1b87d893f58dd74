"""The doctor and `top`, if the server is configured to read its metrics elsewhere."""

import json
from collections.abc import Sequence

import pytest

from metrics_server.doctor.model import Outcome
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, Json
from tests.doctor.running import Run
from tests.doctor.scene import CONFIG, NODES, SERVER_NAMESPACE, Scene, problems_of

PROMETHEUS = 'prometheus: {{url: "http://127.0.0.1:1", use: {use}}}\n'
QUERY = PROMETHEUS.format(use="named") + (
    "rules:\n  - {name: gpu_utilization, unit: percent, podLabel: pod, maximum: 100, "
    'query: "avg by (pod) (x{<<.LabelMatchers>>})"}\n'
)
PODS = (
    "rules:\n  - {name: gpu_utilization, unit: percent, source: pods, "
    "readings: [{family: app_gpu_util, maximum: 100}]}\n"
)
MEBIBYTES = (
    "rules:\n  - {name: gpu_memory_used, unit: MiB, "
    "readings: [{family: DCGM_FI_DEV_FB_USED, maximum: 1000000}]}\n"
)


def of(check: str, outcomes: Sequence[Outcome]) -> Outcome:
    """A check's outcome."""
    return next(one for one in outcomes if one.check == check)


@pytest.mark.parametrize("rules", [QUERY, PODS], ids=["query", "pods"])
async def test_a_metric_that_is_not_read_from_exporters(scene: Scene, rules: str) -> None:
    """Their pages need not have it, and the other checks find nothing either."""
    scene.config_map(CONFIG + rules)
    outcomes = await scene.doctor()
    assert problems_of(outcomes) == {}
    found = of("no-sample", outcomes)
    assert (found.status, found.summary) == (
        "skipped",
        "gpu_utilization is not read from exporters",
    )


@pytest.mark.parametrize(
    ("rules", "is_found"),
    [("", False), (MEBIBYTES, False), (MEBIBYTES.replace("unit: MiB", "source: exporters"), True)],
    ids=["none", "of Prometheus", "of exporters"],
)
async def test_exporters_are_needed_by_rules_that_are_read_there(
    scene: Scene, rules: str, *, is_found: bool
) -> None:
    """With `use: only`, these are rules that name them."""
    for node in NODES:
        scene.api.delete(ENDPOINT_SLICES, SERVER_NAMESPACE, f"dcgm-exporter-{node}")
    scene.config_map(CONFIG + PROMETHEUS.format(use="only") + rules)
    outcomes = await scene.doctor()
    assert [*problems_of(outcomes)] == ["exporter-service"] * is_found
    if not is_found:
        summary = "no metric is read from exporters (prometheus.use: only)"
        assert of("exporters", outcomes).summary == of("no-exporter", outcomes).summary == summary


async def test_no_service_is_configured(scene: Scene) -> None:
    """The problem is that, not a missing EndpointSlice; a flag is as good as a Service."""
    scene.config_map(CONFIG + "exporters: {services: []}\n")
    found = problems_of(await scene.doctor())["exporter-service"]
    assert found.about == "exporters.services"
    assert "it is empty" in found.message
    arguments: list[Json] = ["serve", "--exporter=http://10.0.0.1:9400/metrics"]
    scene.deployment(spec__template__spec__containers__0__args=arguments)
    summary = of("exporters", await scene.doctor()).summary
    assert summary.startswith("exporters are listed by URL (exporters.urls, --exporter)")


@pytest.mark.parametrize("rules", [QUERY, PODS, MEBIBYTES], ids=["query", "pods", "MiB"])
async def test_top_shows_what_the_exporters_report(scene: Scene, run: Run, rules: str) -> None:
    """In the units of its columns, whatever metrics have these names."""
    scene.config_map(CONFIG + rules)
    rows = json.loads((await run("top", "--output", "json")).out)["gpus"]
    assert [row["utilization"] for row in rows] == [40, 40]
    assert all(row["memory"] > 1024**3 for row in rows)


async def test_top_leaves_out_values_in_other_units(scene: Scene, run: Run) -> None:
    """The API's values have the unit of the rule in force."""
    scene.config_map(CONFIG + MEBIBYTES)
    scene.api.faults.forbid("/proxy/")
    rows = json.loads((await run("top", "--output", "json")).out)["gpus"]
    assert [(row["utilization"], row["memory"]) for row in rows] == [(40, None)] * 2
