"""The doctor and `top`, where the server is configured to read its metrics elsewhere."""

import json
from collections.abc import Sequence

import pytest

from metrics_server.doctor.model import Outcome
from tests.doctor.running import Run
from tests.doctor.scene import CONFIG, Scene, problems_of

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
    """What a check found."""
    return next(one for one in outcomes if one.check == check)


@pytest.mark.parametrize("rules", [QUERY, PODS], ids=["query", "pods"])
async def test_a_metric_that_is_not_read_from_exporters(scene: Scene, rules: str) -> None:
    """Their pages are not expected to have it, and the other checks find nothing either."""
    scene.config_map(CONFIG + rules)
    outcomes = await scene.doctor()
    assert problems_of(outcomes) == {}
    found = of("no-sample", outcomes)
    assert (found.status, found.summary) == (
        "skipped",
        "gpu_utilization is not read from exporters",
    )


@pytest.mark.parametrize("rules", [QUERY, PODS, MEBIBYTES], ids=["query", "pods", "MiB"])
async def test_top_shows_what_the_exporters_report(scene: Scene, run: Run, rules: str) -> None:
    """In the units of its columns, whatever the metrics of these names are."""
    scene.config_map(CONFIG + rules)
    rows = json.loads((await run("top", "--output", "json")).out)["gpus"]
    assert [row["utilization"] for row in rows] == [40, 40]
    assert all(row["memory"] > 1024**3 for row in rows)


async def test_top_leaves_out_values_in_other_units(scene: Scene, run: Run) -> None:
    """Those of the API are in the unit of the rule in force."""
    scene.config_map(CONFIG + MEBIBYTES)
    scene.api.faults.forbid("/proxy/")
    rows = json.loads((await run("top", "--output", "json")).out)["gpus"]
    assert [(row["utilization"], row["memory"]) for row in rows] == [(40, None)] * 2
