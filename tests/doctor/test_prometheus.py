"""The doctor's check of Prometheus, against a real one."""

import time
from pathlib import Path

import pytest

from metrics_server.doctor.model import Outcome
from tests.doctor.scene import CONFIG, Scene
from tests.support.prometheus import Prometheus, running_beside
from tests.support.stored import of_gpu, open_metrics

pytestmark = pytest.mark.slow


async def checked(scene: Scene, settings: str, *, direct: bool = True) -> Outcome:
    """What the check finds, with these settings of the section."""
    scene.config_map(f"{CONFIG}prometheus: {{{settings}}}\n")
    outcomes = await scene.doctor(direct=direct)
    return next(one for one in outcomes if one.check == "prometheus")


async def test_without_one_there_is_nothing_to_check(scene: Scene) -> None:
    """It is not a note either: most clusters need none."""
    outcomes = await scene.doctor()
    found = next(one for one in outcomes if one.check == "prometheus")
    assert (found.status, found.summary) == ("ok", "not configured")


async def test_from_a_laptop(scene: Scene) -> None:
    """It names the command that can."""
    found = await checked(scene, "url: 'http://prometheus.monitoring:9090'", direct=False)
    assert found.status == "skipped"
    assert "kubectl -n gpu-monitoring exec deployment/gpu-metrics-server -- " in found.summary


async def test_it_cannot_be_reached(scene: Scene) -> None:
    """The words are those of the server's own error."""
    found = await checked(scene, "url: 'http://127.0.0.1:1'")
    assert [one.name for one in found.problems] == ["prometheus-failed"]
    assert "could not be reached" in found.problems[0].message


@pytest.mark.parametrize(
    ("ages", "settings", "name", "words"),
    [
        ([], "", "prometheus-no-series", "it has no series of DCGM_FI_DEV_GPU_UTIL"),
        ([(10, "")], "where: {cluster: prod}", "prometheus-no-series", "{'cluster': 'prod'}"),
        ([(100, "")], "", "prometheus-old-samples", "and counts for 60 s (prometheus.maxAge)"),
        ([(100, ""), (10, "")], "", "", "the newest sample is 1"),
        ([(100, "")], "maxAge: 4m", "", "DCGM_FI_DEV_GPU_UTIL: the newest sample is 10"),
        ([(10, "prod")], "where: {cluster: prod}", "", "the newest sample is 1"),
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
    """None, none of the cluster, old ones, and good ones."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    samples = [of_gpu(40, time.time() - age, cluster=cluster) for age, cluster in ages]
    stored = Prometheus(folder, samples=open_metrics(samples) if samples else "")
    async with running_beside(stored) as prometheus:
        found = await checked(scene, f"url: '{prometheus.url}', {settings}")
    assert [one.name for one in found.problems] == ([name] if name else [])
    assert words in (found.problems[0].message if name else found.summary)
    assert found.status == ("problem" if name else "ok")
