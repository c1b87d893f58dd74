"""Means over a window: what is measured in the background, for how long, and what is told of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.aggregation import aggregate
from metrics_server.catalogue import CATALOGUE
from metrics_server.kube.pods import Pod
from metrics_server.rules import MetricRule
from metrics_server.samples import Collection, PodSample, TargetFailure
from metrics_server.windows import WindowedSource

from . import harness

PLAIN = CATALOGUE[0]
# Measured in the background each second, which no test takes that does not wait for it.
WINDOWED = structs.replace(PLAIN, name="smooth", window=30)
# Measured in the background each thirtieth of a second.
QUICK = structs.replace(PLAIN, name="quick", window=1)


def pod(name: str, *, namespace: str = "default", node: str = "gpu-0") -> Pod:
    """A pod that can be measured."""
    return Pod(
        namespace=namespace,
        name=name,
        labels={},
        node=node,
        phase="Running",
        ready=True,
        terminating=False,
        gpus=1,
    )


A, B = pod("a"), pod("b")


class Exporters:
    """What would be scraped, at a time that a test sets.

    Attributes:
        now: the time of the next scrape.
        step: by how much each scrape is later than the one before.
        gpus: by the name of a pod, its values; who is not there has no sample.
        asked: the names of the pods of each measurement.
        error: what is raised instead of a measurement.
    """

    def __init__(self, gpus: Mapping[str, Sequence[float]]) -> None:
        self.now = 1000.0
        self.step = 0.0
        self.gpus = gpus
        self.asked: list[list[str]] = []
        self.error: Exception | None = None

    async def collect(self, _: MetricRule, pods: Sequence[Pod]) -> Collection:
        """The values of these pods, now."""
        if self.error:
            raise self.error
        self.asked.append([pod.name for pod in pods])
        now, self.now = self.now, self.now + self.step
        return Collection(
            asked=len(pods),
            samples=tuple(
                PodSample(pod.name, tuple(self.gpus[pod.name]), now)
                for pod in pods
                if pod.name in self.gpus
            ),
            failures=(TargetFailure("http://10.0.0.1:9400/metrics", "answered HTTP 500"),),
            fresh_until=now + 2,
        )


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time it was set to."""
        return self.now


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until this holds."""

    async def ask() -> bool:
        return holds()

    await harness.eventually(ask, bool)


def background() -> list[str]:
    """The names of the tasks that keep windows up."""
    names = (task.get_name() for task in asyncio.all_tasks())
    return [name for name in names if name.startswith("window ")]


async def ask(source: WindowedSource, exporters: Exporters, now: float, value: float) -> float:
    """The mean that is told of pod a, asked at a time when it has this value."""
    exporters.now, exporters.gpus = now, {"a": [value]}
    (sample,) = (await source.collect(WINDOWED, [A])).samples
    assert sample.timestamp == now
    return sample.gpus[0]


async def test_a_rule_without_a_window_passes_through() -> None:
    """It is told as it is measured, and nothing is kept up for it."""
    exporters = Exporters({"a": [10, 30]})
    async with WindowedSource(exporters, period=1) as source:
        told = await source.collect(PLAIN, [A])
        assert told == await exporters.collect(PLAIN, [A])
        assert not background()


async def test_the_mean_is_of_what_was_scraped_in_the_window() -> None:
    """The first answer is of now; then each scrape counts once, until it is 30 s old."""
    exporters = Exporters({})
    async with WindowedSource(exporters, period=1) as source:
        assert await ask(source, exporters, 1000, 90) == 90
        assert await ask(source, exporters, 1010, 30) == 60
        assert await ask(source, exporters, 1020, 0) == 40
        assert await ask(source, exporters, 1029, 0) == 30
        assert await ask(source, exporters, 1030, 0) == 7.5
        assert await ask(source, exporters, 1100, 55) == 55


async def test_a_scrape_that_is_told_again_counts_once() -> None:
    """Questions within maxAge share a scrape, and weigh no more than others for it."""
    exporters = Exporters({})
    async with WindowedSource(exporters, period=2) as source:
        await ask(source, exporters, 1000, 10)
        await ask(source, exporters, 1000, 10)
        assert await ask(source, exporters, 1002, 20) == 15


async def test_what_comes_soon_after_another_scrape_is_left_out() -> None:
    """The background and the questions take turns; each stretch of time counts about once."""
    exporters = Exporters({"a": [10]})
    async with WindowedSource(exporters, period=2) as source:
        await source.collect(WINDOWED, [A])
        exporters.now, exporters.gpus = 1000.5, {"a": [90]}
        (sample,) = (await source.collect(WINDOWED, [A])).samples
        assert (sample.gpus, sample.timestamp) == ((10,), 1000)


async def test_a_pod_that_has_no_sample_now_is_missing() -> None:
    """What is kept of it is no measurement: the gaps are told as they are."""
    exporters = Exporters({"a": [10], "b": [20]})
    async with WindowedSource(exporters, period=1) as source:
        await source.collect(WINDOWED, [A, B])
        exporters.gpus = {"a": [10]}
        told = await source.collect(WINDOWED, [A, B])
        assert [sample.pod for sample in told.samples] == ["a"]
        assert (told.asked, len(told.failures), told.fresh_until) == (2, 1, 1002)


async def test_pods_do_not_mix() -> None:
    """Each has a window of its own, and so has each namespace."""
    exporters = Exporters({"a": [10], "b": [20]})
    async with WindowedSource(exporters, period=1) as source:
        await source.collect(WINDOWED, [A])
        exporters.now, exporters.gpus = 1005, {"a": [30], "b": [90]}
        told = await source.collect(WINDOWED, [B, A])
        assert {sample.pod: sample.gpus for sample in told.samples} == {"b": (90,), "a": (20,)}
        other = await source.collect(WINDOWED, [pod("a", namespace="other")])
        assert other.samples[0].gpus == (30,)


async def test_a_pod_that_has_moved_begins_anew() -> None:
    """A StatefulSet's new pod has the old one's name, and none of its past."""
    exporters = Exporters({"a": [10]})
    async with WindowedSource(exporters, period=1) as source:
        await source.collect(WINDOWED, [A])
        exporters.now, exporters.gpus = 1005, {"a": [90]}
        told = await source.collect(WINDOWED, [pod("a", node="gpu-1")])
        assert told.samples[0].gpus == (90,)


async def test_the_mean_is_of_the_pods_value() -> None:
    """Over GPUs is aggregated at each scrape: 8 GPUs' sum stays one when it is averaged."""
    rule = structs.replace(WINDOWED, over_gpus="sum")
    exporters = Exporters({"a": [90.0] * 8})
    async with WindowedSource(exporters, period=1) as source:
        await source.collect(rule, [A])
        exporters.now, exporters.gpus = 1005, {"a": [70.0] * 8}
        answer = aggregate(rule, await source.collect(rule, [A]), 0.5)
        assert (answer.value, answer.window, answer.timestamp) == (640, 30, 1005)


async def test_sharing_is_told_of_a_mean_too() -> None:
    """What is not of the value stays as it was measured."""

    class Shared(Exporters):
        async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
            told = await super().collect(rule, pods)
            return structs.replace(
                told, samples=tuple(structs.replace(one, shared=True) for one in told.samples)
            )

    async with WindowedSource(Shared({"a": [10]}), period=1) as source:
        assert (await source.collect(WINDOWED, [A])).samples[0].shared


async def test_a_clock_that_is_set_back_does_not_stop_the_window() -> None:
    """What was kept seems to be of the future: it is let go, and the window begins anew."""
    exporters = Exporters({})
    async with WindowedSource(exporters, period=1) as source:
        await ask(source, exporters, 9000, 10)
        assert await ask(source, exporters, 1000, 90) == 90


async def test_pods_are_measured_while_they_are_in_demand() -> None:
    """Between questions the window fills; once none came for `linger`, nothing is measured."""
    exporters, clock = Exporters({"a": [10], "b": [10]}), Clock()
    exporters.step = 0.1
    async with WindowedSource(exporters, period=0.001, linger=60, clock=clock) as source:
        await source.collect(QUICK, [A])
        clock.now = 30
        await source.collect(QUICK, [B])
        await eventually(lambda: exporters.asked[-1] == ["a", "b"])
        exporters.gpus = {"a": [90], "b": [90]}
        measured = len(exporters.asked)
        await eventually(lambda: len(exporters.asked) >= measured + 3)
        (sample,) = (await source.collect(QUICK, [B])).samples
        assert 10 < sample.gpus[0] < 90

        clock.now = 70
        await eventually(lambda: exporters.asked[-1] == ["b"])
        assert background() == ["window quick/default"]
        clock.now = 200
        await eventually(lambda: not background())
        measured = len(exporters.asked)

        (sample,) = (await source.collect(QUICK, [B])).samples
        assert sample.gpus[0] == 90, "nothing was kept"
        assert len(exporters.asked) == measured + 1


async def test_a_long_window_is_not_measured_more_often_than_30_times() -> None:
    """With a period of a millisecond, a window of 30 s is measured each second."""
    exporters = Exporters({"a": [10], "b": [10]})
    async with WindowedSource(exporters, period=0.001) as source:
        await source.collect(WINDOWED, [A])
        await source.collect(QUICK, [B])
        await eventually(lambda: exporters.asked.count(["b"]) >= 7)
        assert exporters.asked.count(["a"]) <= 2


async def test_an_error_in_the_background_is_told_and_mended_by_the_next_question() -> None:
    """What goes wrong there is logged; the next question begins the window anew."""
    exporters = Exporters({"a": [10]})
    async with WindowedSource(exporters, period=0.001) as source:
        with capture_logs() as logs:
            await source.collect(QUICK, [A])
            exporters.error = RuntimeError("of a test")
            await eventually(lambda: not background())
        assert [line["event"] for line in logs] == ["a window is not kept up"]
        with pytest.raises(RuntimeError):
            await source.collect(QUICK, [A])
        exporters.error, exporters.gpus = None, {"a": [90]}
        assert (await source.collect(QUICK, [A])).samples[0].gpus == (90,)


@given(
    values=st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 100)), min_size=1, max_size=200)
)
def test_memory_is_bounded(values: list[tuple[float, float]]) -> None:
    """However often is asked, some 60 values of a pod are kept, and a mean is among its values."""

    async def told() -> None:
        exporters = Exporters({})
        async with WindowedSource(exporters, period=0.001) as source:
            for value, step in values:
                exporters.gpus = {"a": [value]}
                exporters.now += step
                (sample,) = (await source.collect(WINDOWED, [A])).samples
                assert min(values)[0] - 1e-9 <= sample.gpus[0] <= max(values)[0] + 1e-9
            kept = source._kept["smooth", "default"]._asked["a"]
            assert 1 <= len(kept.values) == len(kept.times) <= 61
            assert kept.times[-1] - kept.times[0] < WINDOWED.window

    asyncio.run(told())


async def test_a_server_answers_with_the_mean_of_the_window() -> None:
    """The answer tells its window, and the exporter is scraped without being asked for it."""
    busy = {("default", "a"): [20.0]}
    config = harness.configuration(
        {
            "exporters": {"maxAge": "10ms"},
            "rules": [
                {
                    "name": "smooth",
                    "window": "2s",
                    "readings": [{"family": "DCGM_FI_DEV_GPU_UTIL", "maximum": 100}],
                }
            ],
        }
    )
    async with harness.cluster(
        {"gpu-0": harness.page(busy)}, [harness.pod("a")], config
    ) as simulated:
        exporter = simulated.exporters["gpu-0"]
        item = (await simulated.client.metric("default", "smooth")).item()
        assert (item.value, item.window) == ("20", 2)
        await eventually(lambda: exporter.scrapes >= 5)
        exporter.page = harness.page({("default", "a"): [80.0]})
        scrapes = exporter.scrapes
        await eventually(lambda: exporter.scrapes >= scrapes + 3)
        item = (await simulated.client.metric("default", "smooth")).item()
        assert 20 < int(item.value) < 80
        plain = (await simulated.client.metric("default", "gpu_utilization")).item()
        assert (plain.value, plain.window) == ("80", None)
