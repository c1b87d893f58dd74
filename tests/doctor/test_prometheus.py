"""The doctor's check of Prometheus, against a real one."""

import time
from pathlib import Path

import pytest

from metrics_server.doctor.model import Outcome
from tests.doctor.scene import CONFIG, Scene
from tests.support.prometheus import Prometheus, running_beside
from tests.support.stored import Sample, of_gpu, open_metrics

pytestmark = pytest.mark.slow

USED = "use: second"
PROD = "where: {cluster: prod}"
QUERY = """rules:
  - {name: gpu_utilization, unit: percent, podLabel: pod, maximum: 100,
     query: "avg by (pod) (x{<<.LabelMatchers>>})"}
"""


async def checked(scene: Scene, settings: str, rules: str = "", *, direct: bool = True) -> Outcome:
    """The check's findings, with these settings of the section, and these rules."""
    scene.config_map(f"{CONFIG}prometheus: {{{settings}}}\n{rules}")
    outcomes = await scene.doctor(direct=direct)
    return next(one for one in outcomes if one.check == "prometheus")


async def test_without_one_there_is_nothing_to_check(scene: Scene) -> None:
    """There is no note either: most clusters need none."""
    outcomes = await scene.doctor()
    found = next(one for one in outcomes if one.check == "prometheus")
    assert (found.status, found.summary) == ("ok", "not configured")


async def test_from_a_laptop(scene: Scene) -> None:
    """It names the command that works."""
    found = await checked(scene, "url: 'http://prometheus.monitoring:9090'", direct=False)
    assert found.status == "skipped"
    assert "kubectl -n gpu-monitoring exec deployment/gpu-metrics-server -- " in found.summary


async def test_it_cannot_be_reached(scene: Scene) -> None:
    """The message is the server's own."""
    found = await checked(scene, "url: 'http://127.0.0.1:1'")
    assert [one.name for one in found.problems] == ["prometheus-failed"]
    assert "could not be reached" in found.problems[0].message


@pytest.mark.parametrize(
    ("ages", "settings", "name", "words"),
    [
        ([], USED, "prometheus-no-series", "it has no series of DCGM_FI_DEV_GPU_UTIL"),
        ([(10, "")], f"{USED}, {PROD}", "prometheus-no-series", "{'cluster': 'prod'}"),
        ([(100, "")], USED, "prometheus-old-samples", "and counts for 60 s (prometheus.maxAge)"),
        ([(100, ""), (10, "")], USED, "", "the newest sample is 1"),
        ([(100, "")], f"{USED}, maxAge: 4m", "", "DCGM_FI_DEV_GPU_UTIL: the newest sample is 10"),
        ([], "use: named", "", "it can be queried; gpu_utilization is not read from its series"),
        ([(10, "prod")], f"{USED}, {PROD}", "", "the newest sample is 1"),
    ],
)
async def test_its_series(
    scene: Scene,
    tmp_path: Path,
    *,
    ages: list[tuple[float, str]],
    settings: str,
    name: str,
    words: str,
) -> None:
    """None, none from the cluster, old ones, and good ones."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    samples = [of_gpu(40, time.time() - age, cluster=cluster) for age, cluster in ages]
    stored = Prometheus(folder, samples=open_metrics(samples) if samples else "")
    async with running_beside(stored) as prometheus:
        found = await checked(scene, f"url: '{prometheus.url}', {settings}")
    assert [one.name for one in found.problems] == ([name] if name else [])
    assert words in (found.problems[0].message if name else found.summary)
    assert found.status == ("problem" if name else "ok")


async def test_a_query_is_not_read_from_series_of_exporters(scene: Scene, tmp_path: Path) -> None:
    """It may read any series: the check `answer` judges its result."""
    async with running_beside(Prometheus(tmp_path)) as prometheus:
        found = await checked(scene, f"url: '{prometheus.url}', {USED}", QUERY)
    assert found.status == "ok"


async def test_names_with_a_prefix(scene: Scene, tmp_path: Path) -> None:
    """Series of an exporter with a custom prefix count, but only those of the metric."""
    labels = {"instance": "n1:5000", "job": "amd", "gpu_id": "0"}
    samples = [
        Sample(f"site_gpu_{name}", 40, time.time() - age, labels)
        for name, age in (("gfx_activity", 30), ("package_power", 10))
    ]
    async with running_beside(Prometheus(tmp_path, samples=open_metrics(samples))) as prometheus:
        found = await checked(scene, f"url: '{prometheus.url}', {USED}")
    assert found.summary.startswith("site_gpu_gfx_activity: the newest sample is 3")
